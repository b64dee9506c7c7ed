"""Decoders of live containers, as a session uses them: real processes, whatever is sent, whatever befalls them."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from server.decoding.pipe import Pipe
from server.decoding.pool import Decoders
from server.decoding.process import StreamDecoder
from server.errors import ClientError
from server.metrics import Metrics
from tests.server.clients import eventually
from tests.server.decoding.recorded import KINDS, UNREADABLE, decoded, recorded

STREAMED = [kind for kind in KINDS if kind not in UNREADABLE]
PATIENCE_S = 60.0


class Session:
    """What a live session is to its decoder. `room`: samples that it takes in all, before it asks to wait."""

    def __init__(self, decoders: Decoders, pick: tuple[int, ...] | None = None, room: float = np.inf) -> None:
        self.parts: list[list[np.ndarray]] = []
        self.failure: ClientError | None = None
        self.room = room
        self.decoder: StreamDecoder = decoders.open(pick, self._take, self._fail)

    def _take(self, samples: list[np.ndarray]) -> float:
        if self.room < len(samples[0]):
            return 0.02
        self.room -= len(samples[0])
        self.parts.append(samples)
        return 0.0

    def _fail(self, failure: ClientError) -> None:
        self.failure = failure

    def say(self, container: str, data: bytes, longest: int, seed: int = 0) -> None:
        dice = random.Random(seed)
        self.decoder.begin(container)
        while data:
            n = dice.randint(1, longest)
            self.decoder.send(data[:n])
            data = data[n:]

    def end(self) -> np.ndarray:
        """The samples of all that was said: (n, channels)."""
        assert self.decoder.finish(PATIENCE_S), "in time"
        return self.samples

    @property
    def samples(self) -> np.ndarray:
        return np.concatenate([np.stack(part, axis=1) for part in self.parts])

    @property
    def process(self) -> psutil.Process:
        eventually(lambda: self.decoder.ready, "it has started")
        assert self.decoder.pid is not None
        return psutil.Process(self.decoder.pid)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(8, Metrics())
    yield pool
    pool.close()


def encoding_of(kind: str) -> str:
    return "mp3" if kind == "mp2" else kind


@pytest.fixture(scope="module")
def speech(demo_samples: np.ndarray) -> np.ndarray:
    return demo_samples[: 6 * 16_000]


@pytest.mark.parametrize("kind", STREAMED)
def test_however_it_is_cut_the_samples_are_those_of_the_whole(
    decoders: Decoders, speech: np.ndarray, kind: str
) -> None:
    data = recorded(speech, kind)
    wanted = decoded(data)
    for seed, longest in enumerate((1, 400, 5000, len(data))):
        session = Session(decoders)
        session.say(encoding_of(kind), data[:20_000] if longest == 1 else data, longest, seed)
        found = session.end()
        assert session.failure is None
        if longest > 1:
            assert len(found) - len(wanted) in (0, 175), (
                "an MP3's padding is known to those who can look ahead"
            )
        n = min(len(found), len(wanted)) - 800 if longest == 1 else len(wanted) - 800
        np.testing.assert_allclose(found[:n], wanted[:n], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["webm", "flac", "mp4"])
def test_two_channels_are_two_timelines_and_one_is_refused(
    decoders: Decoders, speech: np.ndarray, kind: str
) -> None:
    both = np.stack([speech, speech[::-1]], axis=1)
    data = recorded(both, kind, "stereo")
    session, left, mixed = Session(decoders, (0, 1)), Session(decoders, (1,)), Session(decoders)
    for one in (session, left, mixed):
        one.say(kind, data, 3000)
    wanted = decoded(data)
    np.testing.assert_allclose(session.end(), wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(left.end(), wanted[:, 1:], rtol=0, atol=1e-6)
    np.testing.assert_allclose(mixed.end()[:, 0], wanted.mean(axis=1), rtol=0, atol=1e-5)
    session = Session(decoders, (0, 1))
    session.say(kind, recorded(speech, kind), 3000)
    eventually(lambda: session.failure, "it is refused")
    assert session.failure is not None and session.failure.code == "UNSUPPORTED_ENCODING"


def test_samples_come_as_the_bytes_do_and_not_at_the_end(decoders: Decoders, speech: np.ndarray) -> None:
    data = recorded(speech, "webm")
    session = Session(decoders)
    session.decoder.begin("webm")
    for n in range(2000, len(data), 8000):
        session.decoder.send(data[:2000] if n == 2000 else data[n - 8000 : n])
        assert session.decoder.settle(PATIENCE_S)
        if n > 2000:
            share = len(session.samples) / len(decoded(data))
            assert share > n / len(data) - 0.1, "what may be decoded has been"
    session.decoder.close()


def test_one_container_follows_the_other_and_none_is_lost(decoders: Decoders, speech: np.ndarray) -> None:
    session = Session(decoders)
    parts = [recorded(speech[: 2 * 16_000], kind) for kind in ("webm", "webm", "ogg", "flac")]
    for name, data in zip(("webm", "webm", "ogg", "flac"), parts, strict=True):
        session.say(name, data, 3000)
    wanted = np.concatenate([decoded(data) for data in parts])
    np.testing.assert_allclose(session.end(), wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_decoder_that_dies_or_hangs_is_told_once_and_no_other_notices(
    decoders: Decoders, speech: np.ndarray
) -> None:
    data = recorded(speech, "webm")
    killed, stopped, other = Session(decoders), Session(decoders), Session(decoders)
    for session in (killed, stopped, other):
        session.decoder.begin("webm")
        session.decoder.send(data[:5000])
        assert session.decoder.settle(PATIENCE_S)
    killed.process.kill()
    stopped.process.suspend()
    stopped.decoder.send(data[5000:])
    hung = stopped.process
    eventually(lambda: killed.failure, "the death is told")
    while not stopped.failure:  # as a server does, every second
        decoders.reap()
        time.sleep(0.1)
    assert {s.failure.code for s in (killed, stopped) if s.failure} == {"INTERNAL"}
    eventually(lambda: not hung.is_running(), "what hung is gone")
    other.decoder.send(data[5000:])
    np.testing.assert_allclose(other.end(), decoded(data), rtol=0, atol=1e-6)


def test_the_next_decoder_is_there_though_its_forker_was_killed(
    decoders: Decoders, speech: np.ndarray
) -> None:
    data = recorded(speech, "webm")
    first = Session(decoders)
    first.decoder.begin("webm")
    first.decoder.send(data[:5000])
    assert first.decoder.settle(PATIENCE_S)
    forker = first.process.parent()
    assert forker is not None and "server.decoding.forker" in forker.cmdline()
    forker.kill()
    eventually(lambda: forker.status() == psutil.STATUS_ZOMBIE or not forker.is_running(), "it is dead")
    second = Session(decoders)
    second.say("webm", data, 3000)
    np.testing.assert_allclose(second.end(), decoded(data), rtol=0, atol=1e-6)
    first.decoder.send(data[5000:])
    np.testing.assert_allclose(first.end(), decoded(data), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_what_may_not_be_taken_yet_waits_in_bounds_though_it_be_an_hour(decoders: Decoders) -> None:
    """An hour of silence is 60 KB of FLAC. What is not taken is not decoded, either."""
    data = recorded(np.zeros(3600 * 16_000, np.float32), "flac")
    assert len(data) < 1_000_000
    session = Session(decoders, room=16_000)
    session.decoder.begin("flac")
    session.decoder.send(data)
    eventually(lambda: session.decoder.holding, "it has more than may be taken")
    used = session.process.memory_info().rss
    cpu = sum(session.process.cpu_times()[:2])
    time.sleep(1)
    assert session.process.memory_info().rss < used + 10_000_000
    assert sum(session.process.cpu_times()[:2]) - cpu < 0.5, "it waits"
    assert len(session.samples) <= 16_000 and session.decoder.waiting
    session.room = 32_000
    eventually(lambda: len(session.samples) > 32_000, "it goes on when there is room")
    process = session.process
    session.decoder.close()
    eventually(lambda: not process.is_running(), "and ends with its session")


def test_why_it_refused_is_told_though_more_was_being_written() -> None:
    """Its last words are in the pipe when writing to it fails: nobody has read them yet."""
    ours, its = socket.socketpair()
    room = threading.Event()
    failures: list[ClientError] = []
    decoder = StreamDecoder(
        None,
        lambda: ours,
        lambda samples: 0.0 if room.is_set() else 0.01,
        failures.append,
        lambda ended, code: None,
    )
    decoder.start()
    process = Pipe(its)
    process.send("ready", {"pid": 1 << 30})
    process.send("samples", {"took": 0}, [bytes(4)])
    process.send("failed", {"code": "BAD_AUDIO", "message": "this is no audio"})
    eventually(lambda: decoder.holding, "its samples wait for room")
    process.close()
    decoder.send(bytes(1000))
    assert not decoder.settle(0.2) and not failures
    room.set()
    assert decoder.finish(PATIENCE_S)
    assert [failure.code for failure in failures] == ["BAD_AUDIO"]


def test_no_more_run_than_are_allowed_and_each_place_comes_back(speech: np.ndarray) -> None:
    pool = Decoders(2, Metrics())
    sessions = [Session(pool), Session(pool)]
    with pytest.raises(ClientError) as refused:
        Session(pool)
    assert refused.value.code == "TOO_MANY_SESSIONS"
    sessions[0].decoder.close()
    Session(pool).say("webm", recorded(speech, "webm"), 3000)
    pool.close()


def test_nothing_is_left_when_all_is_over(speech: np.ndarray) -> None:
    data = recorded(speech[:16_000], "webm")
    me = psutil.Process()
    others = set(me.children(recursive=True))
    pool = Decoders(8, Metrics())
    first = Session(pool)
    first.say("webm", data, 3000)
    first.end()
    before, threads = me.num_fds(), threading.active_count()
    for round_ in range(30):
        session = Session(pool)
        session.say("webm", data if round_ % 3 else data[:100] + bytes(500), 3000)
        if round_ % 2:
            session.decoder.close()
        else:
            session.decoder.finish(PATIENCE_S)
    eventually(lambda: me.num_fds() <= before and threading.active_count() <= threads, "all is closed")
    eventually(lambda: len({*me.children(recursive=True)} - others) == 1, "the forker alone is there")
    pool.close()
    assert not {*me.children(recursive=True)} - others


def test_a_decoder_is_shut_in(decoders: Decoders, speech: np.ndarray) -> None:
    session = Session(decoders)
    session.say("webm", recorded(speech[:16_000], "webm"), 3000)
    assert session.decoder.settle(PATIENCE_S)
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{session.process.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert session.process.rlimit(psutil.RLIMIT_AS)[0] < 1 << 30
    assert session.process.rlimit(psutil.RLIMIT_FSIZE)[0] == 0
    assert session.process.num_threads() == 1
    kept = {f.fd for f in session.process.open_files()}
    assert not kept - {1, 2}, "it has no file"
    session.decoder.close()
