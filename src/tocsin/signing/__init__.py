"""The signer of the log: a key that never leaves its directory, and a memory of what it has signed."""
