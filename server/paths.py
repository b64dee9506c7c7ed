"""Where the program's own files lie, and where what it writes belongs.

A checkout holds both. An installed program (`emotion_stream`) lies among libraries and is started anywhere.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "static"
BROWSER_CLIENT = ROOT / "client" / "js"

INSTALLED = not (ROOT / "pyproject.toml").exists()
# Relative paths in settings and on the command line start here; child processes are started here too.
HOME = Path.cwd() if INSTALLED else ROOT
COMMAND = "emotion-stream" if INSTALLED else "./run.sh"
# The settings file when none is named: the operator's own where there is one.
CONFIG = (HOME if (HOME / "config.yaml").exists() else ROOT) / "config.yaml"


def install_command(extra: str) -> str:
    """The command that brings what some parts need on top: `tools` or `emotion2vec`."""
    return f'pip install "emotion-stream[{extra}]"' if INSTALLED else f"{COMMAND} install {extra}"
