"""Importing funasr's class, without the rest of funasr.

`import funasr` imports every model that it has, with transformers, librosa and modelscope: 5 s of CPU and 290
MB, paid again whenever the model process is restarted. The one module that is needed takes 0.2 s and 16 MB.
It also prints to stdout, which may be somebody's JSON, and may set up the root logger: neither gets through.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

MODULE = "funasr.models.emotion2vec.model"


def import_class() -> Any:
    """funasr's `Emotion2vec`. Raises ImportError, with what to install, when funasr is not there."""
    if MODULE in sys.modules:
        return sys.modules[MODULE].Emotion2vec
    with _quietly():
        try:
            return _alone().Emotion2vec
        except ImportError:
            for name in [name for name in sys.modules if name.split(".")[0] == "funasr"]:
                del sys.modules[name]
        try:  # as other versions may need it: whole
            return importlib.import_module(MODULE).Emotion2vec
        except ImportError as missing:
            raise ImportError(
                f"emotion2vec needs torch and funasr, not both installed ({missing}): ./run.sh install emotion2vec"
                ', or pip install "emotion-stream[emotion2vec]"'
            ) from missing


def _alone() -> Any:
    """The module, imported below a package `funasr` whose own code has not run."""
    if "funasr" in sys.modules:
        return importlib.import_module(MODULE)
    found = importlib.util.find_spec("funasr")
    if found is None:
        raise ImportError("no module named funasr")
    sys.modules["funasr"] = importlib.util.module_from_spec(found)
    try:
        return importlib.import_module(MODULE)
    finally:
        del sys.modules["funasr"]  # whoever wants all of funasr gets it, by importing it


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
