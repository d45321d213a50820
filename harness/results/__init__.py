"""The sweep folder: reading it, and adding to it."""
