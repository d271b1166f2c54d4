"""The console: what people see in a browser. Server-made pages on the same use cases as the API.

A page works without JavaScript; with it, it follows what happens and keeps drafts. Everything that it loads is ours,
and comes from here.
"""
