"""The pipe to a process that reads a file: closing it while somebody is inside a read of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.decoding.pipe import PeerClosed, Pipe

ROOT = Path(__file__).resolve().parents[3]
GREEN = """
import eventlet
eventlet.monkey_patch()
import socket
from server.decoding.pipe import PeerClosed, Pipe
here, there = socket.socketpair()
pipe, told = Pipe(here), []
def listen():
    try:
        pipe.receive()
    except PeerClosed:
        told.append("broken")
listener = eventlet.spawn(listen)
eventlet.sleep(0.1)
pipe.close()
with eventlet.Timeout(5):
    listener.wait()
print(told)
"""


def test_whoever_is_receiving_is_told_that_it_has_ended() -> None:
    here, there = socket.socketpair()
    pipe, told = Pipe(here), []

    def listen() -> None:
        with pytest.raises(PeerClosed):
            pipe.receive()
        told.append("broken")

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    listener.join(0.1)
    closer = threading.Thread(target=pipe.close, daemon=True)
    closer.start()
    closer.join(5)
    listener.join(5)
    assert told == ["broken"] and not closer.is_alive()
    there.close()


def test_the_same_among_green_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GREEN], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "['broken']", done.stderr[-2000:]
