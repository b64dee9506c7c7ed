"""Recordings: found, decoded, recognized as a live stream would be, written down."""
