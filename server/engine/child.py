"""One life of the model process, seen from its parent: start it, send windows, receive messages, end it.

Two ZeroMQ pipes over a private folder of Unix sockets. Waiting is done with `select` on the pipe's file
descriptor rather than with ZeroMQ's own poll, since `select` is what eventlet knows how to make cooperative:
this file works the same under eventlet and under threads, and needs to know neither.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping

import zmq

from server import process_env
from server.engine import EngineSettings
from server.engine.messages import Message, pack_window, unpack
from stream.types import Window

# As plain numbers: combining pyzmq's own takes longer than what it sends.
NOBLOCK, MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
MODULES = {"process": "server.engine.worker", "ray": "server.engine.ray_worker"}
LONGEST_PATH = 100  # of a Unix socket; systems take 103 to 107 bytes
# Where to go when the folder for temporary files has a long name; a folder of our own is made in it.
SHORT_FOLDER = "/tmp"  # noqa: S108


class SocketPathError(Exception):
    """No folder has a path short enough for the sockets; the text says what to do."""


class Child:
    """A started process; the parent's view. `send` may be called from any thread, the rest from one."""

    def __init__(self, settings: EngineSettings, logging: Mapping[str, str]) -> None:
        self._folder = private_folder()
        self._context = zmq.Context()
        self._windows = self._context.socket(zmq.PUSH)
        self._answers = self._context.socket(zmq.PULL)
        for socket in (self._windows, self._answers):
            socket.set_hwm(0)  # bounded by the engine, which holds every window until it is answered
            socket.setsockopt(zmq.LINGER, 0)
        self._send_lock = threading.Lock()
        try:
            self._answers.bind(f"ipc://{self._folder}/answers")
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    MODULES[settings.kind],
                    json.dumps({**self._args(settings), **logging}),
                ],
                stdin=subprocess.DEVNULL,
                env=process_env.of_model_process(settings.threads, settings.gpu),
            )
        except BaseException:
            self._clean_up()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self) -> None:
        """To be called when it has said that it is ready, and before anything is sent.

        This end connects and the child binds: a pipe that has connected takes what it is given even when its
        other end has just died. One that was bound would refuse.
        """
        self._windows.connect(f"ipc://{self._folder}/windows")

    def send(self, ticket: int, window: Window, submitted_s: float) -> None:
        """Never waits: the pipe is unbounded and the engine's `max_queue` bounds what is in it."""
        *parts, last = pack_window(ticket, window, submitted_s)
        with self._send_lock:
            for part in parts:
                self._windows.send(part, MORE)
            self._windows.send(last, NOBLOCK)

    def receive(self, timeout_s: float) -> Message | None:
        """The next message; None when none came within `timeout_s`."""
        # The descriptor only signals changes, so it may be waited on only when a receive found nothing.
        for wait in (True, False):
            try:
                return unpack(self._answers.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                if wait:
                    select.select([self._answers.fileno()], [], [], timeout_s)
        return None

    def ended(self) -> str | None:
        """How it ended, in words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        """End it at once and clean up after it. What it held is still with the engine."""
        self._process.kill()
        self._process.wait()
        self._clean_up()

    def _clean_up(self) -> None:
        with self._send_lock:
            self._windows.close()
        self._answers.close()
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _args(self, settings: EngineSettings) -> dict[str, object]:
        return {
            "windows": f"ipc://{self._folder}/windows",
            "answers": f"ipc://{self._folder}/answers",
            "parent": os.getpid(),
            "model": settings.model,
            "device": settings.device,
            "model_options": settings.model_options,
            "threads": settings.threads,
            "replicas": settings.replicas,
            "ray_address": settings.ray_address,
            "heartbeat_timeout_s": settings.heartbeat_timeout_s,
            "max_batch": settings.batching.max_batch,
            "max_wait_s": settings.batching.max_wait_s,
        }


def private_folder() -> str:
    """A new private folder with a path short enough for a socket. Raises SocketPathError, OSError."""
    for place in (tempfile.gettempdir(), SHORT_FOLDER):
        if len(os.fsencode(place)) + len("/emotion-stream-12345678/answers") <= LONGEST_PATH:
            return tempfile.mkdtemp(prefix="emotion-stream-", dir=place)  # mode 0700
    raise SocketPathError(
        f"{tempfile.gettempdir()}: too long a path for a socket; set TMPDIR to a folder with a shorter one"
    )
