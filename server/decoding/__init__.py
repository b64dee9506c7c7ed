"""Strangers' bytes become samples where they do no harm: what FFmpeg may do, and the processes that are shut in.

Live containers are decoded here, one process per session; files in `server.uploads.worker`, with the same walls.
"""
