"""`policy.watch: customer`: the agent's voice is not heard by anything behind the decoder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server import config, wire
from server.engine import Health, Reply, Timing
from server.live.registry import Sessions
from server.live.requests import parse_audio, parse_start
from server.metrics import Metrics
from server.observers import SessionEvent, SessionInfo, SessionSummary
from server.records.recording import Recorder
from stream.models.fake import FakeModel
from stream.types import HOP, ModelSpec, Window
from tests.conftest import Server
from tests.server.clients import Client
from tests.server.conftest import ROOMY, no_traceback, running

Connect = Callable[..., Client]


@dataclass
class Everything:
    """An engine, a client and an observer that keep all they are given; the engine answers at once."""

    windows: list[Window] = field(default_factory=list)
    sent: list[tuple[str, Any]] = field(default_factory=list)
    observed: list[tuple[str | None, Any]] = field(default_factory=list)
    infos: list[SessionInfo] = field(default_factory=list)
    summaries: list[SessionSummary] = field(default_factory=list)
    _model: FakeModel = field(default_factory=FakeModel)

    @property
    def spec(self) -> ModelSpec:
        return self._model.spec

    def health(self) -> Health:
        return Health(True, 0, 0)

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def submit(self, window: Window, reply: Reply) -> None:
        self.windows.append(window)
        reply(window, self._model.score([window])[0], Timing())

    def send(self, event: str, payload: Any) -> None:
        self.sent.append((event, payload))

    def has_capacity(self) -> bool:
        return True

    def drop(self) -> None:
        pass

    def on_open(self, info: SessionInfo) -> None:
        self.infos.append(info)

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        self.observed.append((channel, event))

    def on_close(self, summary: SessionSummary) -> None:
        self.summaries.append(summary)


@pytest.fixture
def voices(demo_samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An agent, loud, all the time; a customer who is silent for five seconds and then speaks."""
    agent = np.clip(4 * demo_samples[: 10 * 16_000], -1, 1)
    customer = np.concatenate([np.zeros(5 * 16_000, np.float32), 0.4 * demo_samples[: 5 * 16_000]])
    return np.rint(agent * 32767).astype("<i2"), np.rint(customer * 32767).astype("<i2")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("encoding", ["pcm_s16le", "wav"])
def test_the_agents_audio_reaches_neither_engine_nor_recorder_nor_any_event(
    tmp_path: Path, voices: tuple[np.ndarray, np.ndarray], swapped: bool, encoding: str
) -> None:
    settings = config.load(
        None,
        {
            "policy": {"watch": "customer"},
            "channels": {"left": "customer", "right": "agent"} if swapped else {},
            "recording": {"sessions": True, "audio": True},
            "files": {"outputs": str(tmp_path)},
            "limits": {"max_ahead_s": 20},
            "stream": {"ring_s": 30},
        },
    )
    ears = Everything()
    metrics = Metrics()
    recorder = Recorder(settings, metrics)
    recorder.start()
    sessions = Sessions(settings, ears, metrics, (ears, recorder), recorder)
    session, _, _ = sessions.start("sid", ears, parse_start({"channels": 2, "encoding": encoding}))
    agent, customer = voices
    sides = (customer, agent) if swapped else (agent, customer)

    def say(start_s: int, end_s: int) -> None:
        part = np.stack([side[start_s * 16_000 : end_s * 16_000] for side in sides], axis=1)
        data = part.tobytes()
        if encoding == "wav":
            file = io.BytesIO()
            soundfile.write(file, part, 16_000, "PCM_16", format="WAV")
            data = file.getvalue()
        session.feed(parse_audio({"chunk": data}))

    say(0, 5)
    assert ears.windows == [] and ears.sent == [] and ears.observed == [], "the agent alone was speaking"
    say(5, 10)
    summary = sessions.stop(session, "stop")
    recorder.close()

    heard = customer.astype(np.float32) / 32768
    assert ears.windows
    for window in ears.windows:
        first = (window.first_frame - window.left_frames) * HOP
        assert first >= 5 * 16_000 - 1600
        assert np.array_equal(window.samples, heard[first : first + len(window.samples)])
        assert "agent" not in window.session_id
    (info,) = ears.infos
    assert (info.watch, info.channels) == ("customer", 2)
    assert list(summary.counters) == ["customer"] and ears.summaries == [summary]
    assert summary.total.by_label.sum() == sum(window.n_frames for window in ears.windows)
    for name, payload in ears.sent:
        assert "agent" not in wire.Json.dumps(payload), name
        if name != "session_summary":
            assert payload["channel"] == "customer"
    assert ears.observed and {channel for channel, _ in ears.observed} == {"customer"}
    (folder,) = tmp_path.glob("session_*")
    assert sorted(path.name for path in folder.iterdir()) == [
        "alerts.csv", "audio_customer.wav", "record.json", "session.json", "timeline.csv", "utterances.csv",
    ]  # fmt: skip
    kept, _ = soundfile.read(folder / "audio_customer.wav", dtype="int16")
    assert np.array_equal(kept, customer)
    for path in folder.glob("*.*"):
        assert path.suffix == ".wav" or "agent" not in path.read_text(encoding="utf-8"), path
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert record["watch"] == "customer" and record["timeline"]
    # Audio counts where it was heard.
    assert f"emotion_audio_seconds_total {10.0}" in _rendered(metrics)


def _rendered(metrics: Metrics) -> str:
    metrics.watch_engine(lambda: Health(True, 0, 0), lambda: None)
    return metrics.render().decode()


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    with running(model__name="fake", policy__watch="customer", **ROOMY) as server:
        yield server
        no_traceback(server.log())


def test_one_channel_may_hold_both_voices_and_is_refused_with_words(
    strict: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(strict)
    for answer in (
        client.call("start", {}),
        client.call("start", {"channels": 1, "name": "x"}),
        client.call("audio_stream", {"chunk": demo_pcm[:3_200]}),
    ):
        assert answer["error"]["code"] == "BAD_REQUEST"
        assert "channels: 2, the agent left and the customer right" in answer["error"]["message"]
    assert client.start(channels=2)["watch"] == "customer"


@pytest.mark.slow
def test_one_channel_is_let_in_where_the_operator_says_so(connect: Connect, demo_pcm: bytes) -> None:
    with running(model__name="fake", policy__watch="customer", policy__mono="allow", **ROOMY) as server:
        client = connect(server)
        assert "channels" not in client.start()
        client.speak(demo_pcm[: 3 * 32_000])
        assert client.stop()["frames"] > 0
