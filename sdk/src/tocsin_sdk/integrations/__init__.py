"""Frameworks that catch what a program raises: one thin file for each, and none is imported by itself."""
