"""Use cases: one file, one story. Each is called by the API, the pages, the commands and the worker alike."""
