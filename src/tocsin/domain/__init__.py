"""PURE: the questions of the product and their answers. Time and identifiers are arguments; nothing is touched."""
