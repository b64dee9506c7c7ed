"""What Linux and macOS have and Windows has not, each asked for in one place.

Without it a server serves live streams, desks and pages, and the command line works; files are not taken
(`HANDS_OVER_FILES`), and nothing else changes that a client could see.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import IO

try:
    import fcntl
    import resource
except ImportError:
    fcntl = resource = None  # type: ignore[assignment]

# Whether open files can be given to another process: how uploads reach the one that decodes them.
HANDS_OVER_FILES = hasattr(socket, "send_fds")

# Whether a child can go on with a socket of its parent: how workers accept from one address.
INHERITS_SOCKETS = os.name == "posix"

# What ends a server; the last one says that its terminal was closed.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


def ignore_terminal() -> None:
    """For a child: Ctrl-C and a closed terminal are its parent's business, which ends it."""
    for number in ENDING[1:]:
        signal.signal(number, signal.SIG_IGN)


def replace_process(command: list[str], environment: dict[str, str]) -> None:
    """Go on as `command`: in this process where that can be done, else in a child whose end is ours."""
    if sys.platform == "win32":
        import subprocess

        sys.exit(subprocess.call(command, env=environment))
    os.execve(command[0], command, environment)  # noqa: S606 - in this process's place, without a shell


def lock(file: IO[bytes], wait: bool = False) -> None:
    """Hold `file` for this process until it is closed. Raises BlockingIOError when another one holds it.

    Where files cannot be locked, nothing: there it is the operator who starts one program at a time.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def allow_open_files() -> int | None:
    """As many as the system lets us have; how many these are, None without a limit."""
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else hard


def cores() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def be_nice(by: int) -> None:
    """Let others have the processor first."""
    if hasattr(os, "nice"):
        os.nice(by)
