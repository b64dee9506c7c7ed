"""The shell around the science: everything that waits, listens, counts or writes to disk."""

__version__ = "0.2.0"
