"""The entrance of the installed program: the command `emotion-stream`.

A wheel holds all rooms inside one package, `emotion_stream`, whose `__init__` this file becomes: names as common
as `server` and `tools` would be in the way of other people's modules. Here that folder is put on the path, of this
process and of those it starts, and the command line begins.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Entry point of the command `emotion-stream`."""
    here = str(Path(__file__).resolve().parent)
    sys.path.insert(0, here)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    from cli.main import main as command_line

    command_line()
