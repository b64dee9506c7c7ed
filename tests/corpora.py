"""Recordings of people, for the tests that need them: none are in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def corpora() -> Path:
    """The folder that EMOTION_DATA names, with a manifest.csv in it; the test is skipped where there is none."""
    folder = os.environ.get("EMOTION_DATA")
    if not folder:
        pytest.skip("no recordings of people: set EMOTION_DATA to a folder with manifest.csv")
    if not (Path(folder) / "manifest.csv").exists():
        pytest.skip(f"no manifest.csv in {folder}, which EMOTION_DATA names")
    return Path(folder)
