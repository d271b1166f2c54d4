"""The doors through which reports come in: one file a protocol; the door itself and the table of them are shared."""
