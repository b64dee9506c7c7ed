"""What is raised for a setting that cannot be used."""

from __future__ import annotations


class ConfigError(Exception):
    """A setting that cannot be used; the text names the file or variable, the path, and what would do."""
