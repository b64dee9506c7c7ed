"""What other programs import, and the entrance of the installed command `emotion-stream`.

    from emotion_stream import EmotionModel

A wheel holds all rooms inside this one package: names as common as `server` and `tools` would be in the way of
other people's modules. Here the folder that holds them, in a checkout the one above, is put on the path: behind
everything of the program that imports this, but first where the process is the command's own. Importing this
module brings nothing else along; the model comes with what is asked for (docs/sdk.md).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion_stream.live import LiveStream
    from emotion_stream.model import EmotionError, EmotionModel
    from emotion_stream.results import LABELS, LABELS_ZH, Frames, Result, Utterance

__all__ = [
    "LABELS",
    "LABELS_ZH",
    "EmotionError",
    "EmotionModel",
    "Frames",
    "LiveStream",
    "Result",
    "Utterance",
    "main",
]

_HERE = Path(__file__).resolve().parent
_INSTALLED = (_HERE / "server").is_dir()
_ROOMS = _HERE if _INSTALLED else _HERE.parent
_PATHS = [str(path) for path in ([_ROOMS] if _INSTALLED else [_ROOMS, _ROOMS / "client" / "python"])]
_HOMES = {
    **dict.fromkeys(("LABELS", "LABELS_ZH", "Frames", "Result", "Utterance"), "results"),
    **dict.fromkeys(("EmotionError", "EmotionModel"), "model"),
    "LiveStream": "live",
}

sys.path += [path for path in _PATHS if path not in sys.path]


def __getattr__(name: str) -> Any:
    """Names of `__all__`, when first used. Raises ImportError where another module is in the way."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_names()
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def _check_names() -> None:
    for room in ("server", "stream"):
        try:
            found = importlib.util.find_spec(room)
        except ValueError:  # a module that was made by hand
            found = None
        where = found.origin if found and found.origin else "made by hand"
        if not Path(where).resolve().is_relative_to(_ROOMS):
            raise ImportError(
                f"another module is called {room!r} ({where}), as a part of emotion_stream is: rename it, or start"
                f" Python where it is not found"
            )


def main() -> None:
    """Entry point of the command `emotion-stream`."""
    sys.path[:0] = _PATHS
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*_PATHS, os.environ.get("PYTHONPATH")]))
    from cli.main import main as command_line

    command_line()
