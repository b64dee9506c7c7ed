"""A system without locks, limits, and handing over of files, as Windows is: the server serves all but files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import requests

from tests.server.clients import Client, eventually

# What Windows lacks, taken away before anything of ours is imported.
WITHOUT = """
import os, signal, socket, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
del socket.send_fds, socket.recv_fds, signal.SIGHUP, signal.SIGXCPU, os.nice, os.pread, os.fork
"""
IMPORT_ALL = """
import importlib, pathlib
for room in ("server", "stream", "tools", "cli", "evaluation"):
    for path in pathlib.Path(room).rglob("*.py"):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        if name not in ("server.hub.green", "server.run") and not name.endswith("__main__"):
            importlib.import_module(name)
"""
SERVE = """
from server import config
from server.app import serve
options = {"server": {"port": 0, "async_mode": "threading"}, "model": {"name": "fake"}}
sys.exit(serve(config.load(None, options)))
"""


def test_every_module_can_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT + IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_serves_live_streams_and_refuses_files_in_words(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", WITHOUT + SERVE], stdout=log, stderr=log)

    def said() -> str:
        return (tmp_path / "log").read_text(encoding="utf-8")

    try:
        eventually(lambda: "is ready:" in said(), "it is ready", 60)
        assert "files are not taken here" in said()
        url = said().partition("is ready:")[2].split()[0]
        client = Client(url)
        assert client.start()["ok"]
        client.close()
        refused = requests.post(f"{url}/api/v1/emotion/recognize", files={"audio_file": b"RIFF"}, timeout=30)
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "CLOSED"
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert "Traceback" not in said()
