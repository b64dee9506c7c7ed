"""One chunk's journey, as docs/architecture.md tells it: the named functions are there, and call each other."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import socketio

from server import config
from server.access.auth import Access
from server.access.refusals import Refusals
from server.access.usage import Usage
from server.config.loading import known_paths
from server.engine import EngineSettings
from server.engine.inprocess import InProcessEngine
from server.live.connection import Connection
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.log_writer import spawn
from server.metrics import Metrics
from stream.batching import BatchLimits
from stream.models.fake import FakeModel
from tests.server.clients import eventually

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## One chunk's journey")[2].partition("\n## ")[0]
NAMED = re.findall(r"^\d\. `([\w.]+)`", SECTION, re.M)
# Which of them calls which, directly or through others. The engine calls the model and answers on its own thread.
CALLS = {1: 0, 2: 0, 3: 2, 4: 2, 7: 6, 8: 6}
STARTS = (0, 5, 6)


def function(name: str) -> Any:
    """What `package.module.Class.method` names, or `package.module`."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            module = import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[n:], module)
    raise LookupError(name)


@contextmanager
def profiled(seen: dict[CodeType, list[CodeType | None]], named: list[CodeType]) -> Iterator[None]:
    """Fills `seen`: for each function of ours, which of the named ones it was called within."""

    def profile(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event != "call" or not Path(code.co_filename).is_relative_to(ROOT) or ".venv" in code.co_filename:
            return
        if "tests" in Path(code.co_filename).parts or code.co_name.startswith("<"):
            return
        above = frame.f_back
        while above is not None and above.f_code not in named:
            above = above.f_back
        seen.setdefault(code, []).append(above.f_code if above is not None else None)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


class _Client(Connection):
    """A connection whose packets go nowhere."""

    def __init__(self) -> None:
        self.sid, self.language = "sid", "en"
        self.sent: list[str] = []

    def _send(self, event: str, payload: dict[str, Any]) -> None:
        self.sent.append(event)

    def unsent(self) -> int:
        return 0


@pytest.fixture(scope="module")
def trip(demo_samples: np.ndarray) -> tuple[list[CodeType], dict[CodeType, list[CodeType | None]]]:
    """A second of speech in one chunk, from the handler to the event."""
    named = [function(name).__code__ for name in NAMED]
    settings = config.load(None, {"model": {"name": "fake"}})
    seen: dict[CodeType, list[CodeType | None]] = {}
    pcm = np.rint(demo_samples[16_000 : 2 * 16_000] * 32767).astype("<i2").tobytes()
    with profiled(seen, named):
        engine = InProcessEngine(FakeModel(), EngineSettings(batching=BatchLimits(max_wait_s=0)))
        sessions = Sessions(settings, engine, Metrics())
        namespace = LiveNamespace(
            socketio.Server(), settings, sessions, Access(settings, spawn, Usage(None)), Metrics(), Refusals()
        )
        client = _Client()
        namespace.on_start(client, {})
        seen.clear()
        answer = namespace.on_audio(client, {"chunk": pcm})
        assert answer["ok"]
        eventually(lambda: "emotion_result" in client.sent, "it is scored")
    engine.close()
    return named, seen


def test_nine_functions_are_named_and_each_is_called_by_the_one_before(
    trip: tuple[list[CodeType], dict[CodeType, list[CodeType | None]]],
) -> None:
    named, seen = trip
    assert len(named) == 9
    for callee, caller in CALLS.items():
        assert named[caller] in seen[named[callee]], f"{NAMED[caller]} does not call {NAMED[callee]}"
    for start in STARTS:
        assert None in seen[named[start]] or start == 0, NAMED[start]


def test_the_page_counts_the_functions_and_files_that_a_chunk_passes(
    trip: tuple[list[CodeType], dict[CodeType, list[CodeType | None]]],
) -> None:
    _, seen = trip
    told = re.search(r"passes (\d+) functions of ours in (\d+) files", " ".join(SECTION.split()))
    assert told is not None
    files = {code.co_filename for code in seen}
    # How threads meet decides of one or two: whether a window waits, whether a lock was free.
    assert abs(int(told[1]) - len(seen)) <= 3
    assert abs(int(told[2]) - len(files)) <= 1


def test_every_file_that_the_page_names_is_there() -> None:
    paths = re.findall(r"`([a-z_-]+/[\w./-]+\.(?:py|js|md|ts|yaml))`", PAGE)
    assert len(paths) > 15
    missing = [path for path in paths if not (ROOT / path).exists() and "NAME" not in path]
    assert not missing


def test_every_function_and_module_that_the_page_names_is_there() -> None:
    settings = {f"{section}.{key}" for section, keys in known_paths().items() for key in keys}
    for name in re.findall(r"`((?:server|stream|tools)\.[\w.]+)`", PAGE):
        assert name in settings or function(name) is not None
