"""Uploads: a request becomes a file, waits its turn, and is recognized in a process of its own."""
