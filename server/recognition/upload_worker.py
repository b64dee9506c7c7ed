"""The process that reads what strangers send: decodes, listens, writes results. It asks its parent for scores.

Run by `upload_pool` as `python -m server.recognition.upload_worker FD` and by nobody else, and kept from one file
to the next. A decoder that crashes, or asks for a machine's memory, ends this process and nothing more. It ends
when its parent does.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from server import logs, taught
from server.config import Config
from server.engine import Health, Reply
from server.engine.messages import Answers, pack_window, unpack
from server.errors import ClientError
from server.recognition.recognise import Wish, recognise
from server.recognition.results import Recording
from server.recognition.upload_pipe import Broken, Pipe, Said
from stream.types import JsonDict, ModelSpec, Window

MEMORY = 2 << 30  # bytes of address space: what a decoder may ask for; a recording needs a tenth of it
NICE = 5  # whoever speaks goes first


log = logging.getLogger("upload")


class _ParentsEngine:
    """An engine that is the parent's: windows go there, answers come back."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._tickets = itertools.count()
        self._waiting: dict[int, tuple[Window, Reply]] = {}
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec | None:
        return self._spec

    def serve(self, spec: ModelSpec) -> None:
        """A new file: the model is `spec`."""
        self._spec = spec
        self._waiting.clear()

    def submit(self, window: Window, reply: Reply) -> None:
        ticket = next(self._tickets)
        self._waiting[ticket] = window, reply
        self._pipe.send("window", {}, pack_window(ticket, window, 0.0))

    def answered(self, said: Said) -> None:
        message = unpack(said.frames)
        assert isinstance(message, Answers)
        for ticket, answer, timing in message.items:
            asked = self._waiting.pop(ticket, None)
            if asked is not None:  # else of a file that has been given up meanwhile
                window, reply = asked
                reply(window, answer, timing)

    def health(self) -> Health:
        return Health(True, len(self._waiting), 0)

    def close(self) -> None:
        self._waiting.clear()


def main(fd: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, a closed terminal: the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)
    end = socket.socket(fileno=fd)
    end.setblocking(True)  # a parent under eventlet has made it otherwise
    pipe = Pipe(end)
    orders = pipe.receive().fields
    config = Config.model_validate(orders["config"])
    logs.configure(config.server.log_level, config.server.log_format)
    labels = taught.load(config)
    engine, jobs = _ParentsEngine(pipe), queue.SimpleQueue[Said]()
    threading.Thread(target=_listen, args=(pipe, engine, jobs), daemon=True).start()
    while True:
        said = jobs.get().fields
        engine.serve(ModelSpec(**dict(said["spec"], can_say=tuple(said["spec"]["can_say"]))))
        wish = Wish(
            said["granularity"], said["embed"], Path(said["folder"]), labels, config.files.max_audio_s
        )
        try:
            with Path(said["file"]).open("rb") as file:
                found = recognise(file, engine, config, wish, lambda told: pipe.send("told", told))
        except ClientError as refused:
            pipe.send("failed", {"code": refused.code, "message": refused.message})
        except MemoryError:
            pipe.send(
                "failed", {"code": "BAD_AUDIO", "message": "the recording takes more memory than any should"}
            )
        except OSError as broken:
            why = f"the result cannot be saved: {broken.strerror or broken}"
            pipe.send("failed", {"code": "INTERNAL", "message": why})
        else:
            pipe.send("done", _summary(found))


def _summary(found: Recording) -> JsonDict:
    """What the answer says beside the fields of result.json."""
    said: JsonDict = {
        "verdict": found.verdict,
        "embedding_saved": found.embedding is not None,
        "duration_s": found.head["duration_s"],
    }
    return said if found.no_embedding is None else {**said, "embedding_note": found.no_embedding}


def _listen(pipe: Pipe, engine: _ParentsEngine, jobs: queue.SimpleQueue[Said]) -> None:
    """Hear the parent, until it is gone."""
    try:
        while True:
            said: Any = pipe.receive()
            if said.kind == "answers":
                engine.answered(said)
            else:
                jobs.put(said)
    except Broken:
        os._exit(0)
    except BaseException:
        log.exception("this process cannot hear its parent any more")
        logs.flush()
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
