"""Recordings sent or named: decoded, recognised as a live stream is, their results kept in folders."""
