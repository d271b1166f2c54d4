"""The web server: thin. It reads requests, asks the use cases, and writes their answers."""
