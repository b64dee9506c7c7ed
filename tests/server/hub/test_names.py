"""Looking names up: by the system's resolver, and nobody else waits where that is slow."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

# Under eventlet, in a process of its own; below Python's socket module is a name server that takes a second.
PROGRAM = """
import _socket
from time import sleep
def slow(host, *rest, known=_socket.getaddrinfo):
    sleep(1)
    return known(host, *rest)
_socket.getaddrinfo = slow
from server import hub
hub.patch()
import socket, sys, threading, time

found = []
def look(name):
    try:
        found.append(socket.getaddrinfo(name, 80, 0, socket.SOCK_STREAM)[0][4][0])
    except OSError as unknown:
        found.append(type(unknown).__name__)
lookups = [threading.Thread(target=look, args=(name,)) for name in ("127.0.0.1", "no.invalid")]
for one in lookups:
    one.start()
turns = 0
while any(one.is_alive() for one in lookups):
    time.sleep(0.01)
    turns += 1
assert not [name for name in sys.modules if name.split(".")[0] == "dns"]
print(turns, *sorted(found))
"""


def test_a_name_server_that_is_slow_keeps_nobody_else_waiting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    turns, *found = done.stdout.split()
    assert found == ["127.0.0.1", "gaierror"], done.stderr
    assert int(turns) > 10
