"""The server process proper: `python -m server.run MODE ARGS`, started by the command line; of a server with
several workers its parent (MODE `parent`), and each worker.

Eventlet must patch the standard library before anything else is imported, and the settings that say whether to
use it need imports to be read. So it is started in the mode that nearly all have, and once more in another when
the settings, now read, name one.
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

from server import config, system
from server.access.hosts import exposed
from server.access.key_file import KeyFile


def main() -> int:
    """The exit status: 2 for settings that cannot be used."""
    args = json.loads(sys.argv[2])
    try:
        settings = config.load(Path(args["config"]), args["options"])
        if why := exposed(settings):
            raise config.ConfigError(why)
        if (keys := settings.access.keys_path) is not None:
            KeyFile(keys).read()  # here, where it is told at once
    except config.ConfigError as wrong:
        print(config.refusal(str(wrong)), file=sys.stderr)
        return 2
    several = settings.server.n_workers > 1 and "place" not in args
    mode = "parent" if several else settings.server.async_mode
    if mode != sys.argv[1]:
        command = [sys.executable, "-m", "server.run", mode, sys.argv[2]]
        system.replace_process(command, dict(os.environ))
    if several:
        from server.workers import parent

        _settle()
        return parent.serve(settings, args)
    from server.app import serve
    from server.workers.link import Place

    _settle()
    return serve(settings, Place(**args["place"]) if "place" in args else None)


def _settle() -> None:
    """All modules are loaded."""
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    sys.exit(main())
