"""The process that decoders of live audio are forked from: it has imported what they need, and hears no stranger.

Run by `pool` as `python -m server.decoding.forker FD`, and by nobody else. Over that socket come others, one for
each decoder: a fork takes milliseconds, and shares the memory of FFmpeg's libraries. It ends when its parent does;
a decoder ends when its own socket does, and goes on should this process die.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback

from server import system
from server.decoding import child

NICE = 5  # what strangers send must not slow down the others


def main(fd: int) -> None:
    system.ignore_terminal()
    system.be_nice(NICE)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that have ended are nobody's zombies
    hand = socket.socket(fileno=fd)
    hand.setblocking(True)  # a parent under eventlet has made it otherwise
    gc.freeze()
    while True:
        said, fds, _, _ = socket.recv_fds(hand, 1, 1)
        if not said:
            return
        if os.fork() == 0:
            hand.close()
            _decode(fds[0])
        os.close(fds[0])


def _decode(fd: int) -> None:
    """In the new process, which ends with it."""
    status = 1
    try:
        end = socket.socket(fileno=fd)
        end.setblocking(True)
        child.run(end)
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
