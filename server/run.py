"""The server process proper: `python -m server.run MODE ARGS`, started by the command line.

A process of its own, since eventlet must patch the standard library before anything else is imported, and the
settings that say whether to use it need imports to be read.
"""

from __future__ import annotations

import gc
import os
import sys

if __name__ == "__main__":
    gc.disable()  # while modules are loaded: they all stay, and are looked through in vain
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # it was closed; before a connection gets its number, and our log
            os.open(os.devnull, os.O_RDWR)
    if sys.argv[1] == "eventlet":
        from server import hub

        hub.patch()
    # engineio would load what its clients need, of no use here, wherever that is: a fifth of a start.
    for name in ("aiohttp", "requests", "websocket"):
        sys.modules[name] = None  # type: ignore[assignment]

import json
from pathlib import Path

from server import config
from server.app import serve


def main() -> int:
    gc.freeze()
    gc.enable()
    args = json.loads(sys.argv[2])
    return serve(config.load(Path(args["config"]), args["options"]))


if __name__ == "__main__":
    sys.exit(main())
