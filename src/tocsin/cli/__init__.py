"""The command line: thin. Every command calls a use case, records the access, and tells what came of it."""
