"""Live, or refused: the levels of load, who is admitted, what a real server does when its model is too slow."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from server.live.channel import Channel
from server.live.load import FIRST, LEVELS, TARGET, Headroom, Load, Measured
from stream.session import StreamConfig
from stream.types import SAMPLE_RATE, Floats
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import engine_of, metrics, no_traceback, running

Connect = Callable[..., Client]


def levels(figures: list[Measured]) -> list[int]:
    """The level after each second of `figures`."""
    load, out = Load(max_lag_s=1.0), []
    for second, measured in enumerate(figures):
        load.update(measured, float(second))
        out.append(load.index)
    return out


def test_a_level_is_reached_at_once_and_left_step_by_step() -> None:
    calm, late = Measured(0.2, 0.2, 0.05), Measured(0.99, 0.5, 1.2)
    assert levels([calm, late, *[calm] * 9]) == [0, 4, 4, 4, 3, 3, 2, 2, 1, 1, 0], (
        "eight seconds after the last"
    )
    assert levels([Measured(busy, 0.1) for busy in (0.5, 0.72, 0.86, 0.96, 1.0)]) == [0, 1, 2, 3, 3]
    assert levels([Measured(0.1, busy) for busy in (0.5, 0.72, 0.86, 0.96, 1.0)]) == [0, 1, 2, 3, 3]
    assert levels([Measured(lag_s=lag) for lag in (0.2, 0.3, 0.5, 0.7, 1.0)]) == [0, 1, 2, 3, 4]


def test_a_level_that_brings_the_load_down_does_not_flap() -> None:
    """Windows of two hops cost less: at 0.72 before, 0.55 after, the server would go to and fro."""
    assert set(levels([Measured(0.72), *[Measured(0.55)] * 20])) == {1}
    assert levels([Measured(0.72), *[Measured(0.45)] * 5])[-1] == 0


@pytest.mark.parametrize("capacity", [3, 12, 110, 1500])
def test_three_times_as_many_as_fit_are_admitted_as_far_as_they_fit(capacity: int) -> None:
    """Everybody comes at once, and again after each refusal. The first streams cost more than those in company."""
    load, headroom, n, most = Load(1.0), Headroom(), 0, 0
    for second in range(60):
        for _ in range(3 * capacity - n):
            n += headroom.take(1)
        most = max(most, n)
        busy = min(1.0, n / capacity + 4 / capacity * (1 - np.exp(-n / 4)) * (n < capacity / 2))
        lag_s = 0.1 if n <= capacity else 0.1 + (n / capacity - 1)
        load.update(Measured(busy, busy / 2, lag_s), float(second))
        headroom.update(load, n)
        if second == 15:
            assert n >= 0.6 * capacity, "not for ever"
    assert most <= max(capacity, FIRST), "never more than fit, but for those whom a new server takes at once"
    assert n >= 0.7 * capacity


def test_nobody_is_admitted_beyond_the_target() -> None:
    load, headroom = Load(1.0), Headroom()
    assert headroom.take(FIRST) and not headroom.take(1)
    load.update(Measured(TARGET), 0.0)
    headroom.update(load, 10)
    assert not headroom.take(1)
    load.update(Measured(TARGET / 2), 1.0)
    headroom.update(load, 10)
    assert headroom.take(5) and not headroom.take(1)


def heard(at: list[tuple[float, float]], speech: Floats) -> Channel:
    """A channel that got up to `seconds` of audio at each `when`: (when, seconds)."""
    channel, sent = Channel("s", None, StreamConfig()), 0
    for when, seconds in at:
        end = round(seconds * SAMPLE_RATE)
        channel.push(speech[sent:end], when)
        sent = end
    return channel


def test_lag_counts_from_when_audio_was_due(demo_samples: Floats) -> None:
    """At a pace: from when it came. Sent ahead: from when it would have been spoken. After a pause: from then."""
    speech = demo_samples[SAMPLE_RATE:]
    paced = heard([(100 + t / 10, t / 10) for t in range(1, 31)], speech)
    assert paced.lag_s(103.0) > 2.0, "nothing has been scored yet, from the first words on"
    ahead = heard([(100.0 + t / 1000, t / 10) for t in range(1, 31)], speech)
    assert ahead.lag_s(100.1) == 0
    assert 0 < ahead.lag_s(101.0) < 1.0
    fast = heard([(100 + 0.99 * t / 10, t / 10) for t in range(1, 31)], speech)
    assert fast.lag_s(103.0) == pytest.approx(paced.lag_s(103.0), abs=0.1)
    paused = heard([(100 + t / 10, t / 10) for t in range(1, 2)], speech)
    assert paused.lag_s(113.0) == 0, "what is there is too short for a window: the model has nothing to do"
    back = heard([(100 + t / 10 + 9 * (t > 1), t / 10) for t in range(1, 31)], speech)
    assert back.lag_s(112.0) == pytest.approx(paced.lag_s(103.0) - 0.1, abs=0.2)


def test_what_is_shed_is_lost_once_and_the_answer_that_comes_late_is_passed_over(
    demo_samples: Floats,
) -> None:
    channel = heard([(100 + t / 10, t / 10) for t in range(1, 41)], demo_samples[SAMPLE_RATE:])
    due = channel.lag_s(104.0)
    step = channel.shed(104.0, 1.0)
    assert step.window is None, "one is out still"
    lost = [(event.first_frame, event.n_frames, event.code) for event in step.events]  # type: ignore[union-attr]
    assert lost and {code for *_, code in lost} == {"OVERLOADED"}
    assert all(a[0] + a[1] == b[0] for a, b in itertools.pairwise(lost)), "one after the other"
    assert channel.lag_s(104.0) <= 1.0 < due
    assert not channel.shed(104.0, 1.0).events


@contextlib.contextmanager
def slowed(pid: int) -> Iterator[None]:
    """The process gets a tenth of its time."""
    import os

    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.63)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.07)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eventlet", "threading"])
def test_a_model_that_is_too_slow(connect: Connect, demo_pcm: bytes, mode: str) -> None:
    """Those who are there lose what is too old and nothing else; others are told to come again, and may."""
    settings = {"limits__max_sessions": "auto", "limits__max_lag_ms": 300, "server__async_mode": mode}
    with running(model__name="fake", **settings) as server:
        clients = [connect(server) for _ in range(4)]
        ids = [client.start(load_events=True)["session_id"] for client in clients]
        silent = connect(server)
        speaking = [
            threading.Thread(
                target=client.speak, args=(demo_pcm[: 10 * 32_000],), kwargs={"cut": 3200, "pace": 1}
            )
            for client in clients
        ]
        for thread in speaking:
            thread.start()
        time.sleep(2)
        before = metrics(server)
        with slowed(engine_of(server).pid):
            clients[0].wait_for("load", lambda told: told["level"] in ("refusing", "shedding"))
            clients[0].wait_for("lost")
            refused = eventually(
                lambda: next(
                    (a for a in [silent.call("start", {})] if not a["ok"]), silent.call("stop", {}) and None
                ),
                "a newcomer is refused",
            )
            assert metrics(server)["emotion_load_level"] >= 3
        assert refused["error"]["code"] == "OVERLOADED" and refused["error"]["retryable"]
        assert refused["error"]["retry_after_s"] == 2
        for thread in speaking:
            thread.join()
        for client, session_id in zip(clients, ids, strict=True):
            client.stop()
            book = ledger.of_client(client.heard, session_id)
            book.balance()
            assert set(book.lost.values()) == {"OVERLOADED"}
            told = [told["level"] for told in client.of("load")]
            assert all(level in LEVELS for level in told)
        eventually(lambda: silent.call("start", {})["ok"], "it may come again")
        eventually(lambda: metrics(server)["emotion_load_level"] == 0, "all is as it was")
        assert before["emotion_load_level"] <= 1
        log = server.log()
        assert "load: refusing" in log or "load: shedding" in log
        no_traceback(log)
