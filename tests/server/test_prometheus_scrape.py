"""A real Prometheus scrapes a real server while somebody speaks, and knows what the contract promises."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import socketio
import soundfile

from tests.conftest import Server, free_port

PROMETHEUS = shutil.which("prometheus")
P95 = "histogram_quantile(0.95, sum by (le) (rate(emotion_frame_latency_seconds_bucket[30s])))"
GAUGES_AND_COUNTERS = (
    "emotion_connections",
    "emotion_sessions",
    "emotion_audio_seconds_total",
    "emotion_speech_seconds_total",
    "emotion_silence_seconds_total",
    "emotion_frames_total",
    "emotion_requests_total",
    "emotion_errors_total",
    "emotion_lost_seconds_total",
    "emotion_engine_up",
    "emotion_engine_restarts_total",
    "emotion_model_info",
)
HISTOGRAMS = (
    "emotion_frame_latency_seconds",
    "emotion_queue_seconds",
    "emotion_inference_seconds",
    "emotion_batch_windows",
)
SPOKEN_S = 12.0
PACE = 2.0  # times real time: what runs ahead stays below the server's allowance of 10 s
CHUNK = 1600  # samples

Found = TypeVar("Found")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="there is no prometheus on the PATH (Debian: prometheus)"),
]


class Prometheus:
    """A Prometheus of our own, scraping `target` every second."""

    def __init__(self, target: str, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "emotion", "static_configs": [{"targets": [target.removeprefix("http://")]}]}
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        assert PROMETHEUS is not None
        self.process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=warn",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, **parameters: str) -> Any:
        with urllib.request.urlopen(
            f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=5
        ) as answer:
            return json.load(answer)["data"]

    def ready(self) -> bool:
        assert self.process.poll() is None, f"prometheus ended with {self.process.returncode}"
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def value(self, query: str) -> float:
        """The one value of an instant query, NaN when there is none."""
        result = self.get("/api/v1/query", query=query)["result"]
        return float(result[0]["value"][1]) if result else math.nan


@pytest.fixture(scope="module")
def prometheus(live_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(live_server.url, tmp_path_factory.mktemp("prometheus"))
    try:
        until(server.ready, 30, "prometheus to be ready")
        until(lambda: server.value("up") == 1, 30, "the first scrape")
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


def until(ask: Callable[[], Found], timeout_s: float, what: str) -> Found:
    """Ask every 0.2 s until the answer is true."""
    end = time.monotonic() + timeout_s
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.2)
    return answer


async def speak(url: str, wav: Path) -> float:
    """Stream the recording and stop; gives the seconds sent."""
    samples, rate = soundfile.read(wav, dtype="int16", frames=int(SPOKEN_S * 16_000))
    assert rate == 16_000
    async with socketio.AsyncSimpleClient() as client:
        await client.connect(url, transports=["websocket"])
        assert (await client.call("start", {}, timeout=10))["ok"]
        for at in range(0, len(samples), CHUNK):
            chunk = base64.b64encode(samples[at : at + CHUNK].astype("<i2").tobytes()).decode()
            answer = await client.call("audio_stream", {"chunk": chunk}, timeout=10)
            assert answer["ok"], answer
            await asyncio.sleep(CHUNK / rate / PACE)
        await client.call("stop", {}, timeout=30)
    return len(samples) / 16_000


@pytest.fixture(scope="module")
def spoken_s(prometheus: Prometheus, live_server: Server, demo_wav: Path) -> float:
    """Seconds of speech that were streamed while Prometheus looked on."""
    return asyncio.run(speak(live_server.url, demo_wav))


def test_the_95th_percentile_of_latency_can_be_asked_for(prometheus: Prometheus, spoken_s: float) -> None:
    def p95_s() -> float:
        value = prometheus.value(P95)
        return value if math.isfinite(value) else 0.0

    assert 0 < until(p95_s, 20, "a finite percentile") < 5


def test_every_metric_of_the_contract_is_known(prometheus: Prometheus, spoken_s: float) -> None:
    wanted = {
        *GAUGES_AND_COUNTERS,
        *(f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")),
    }

    def missing() -> set[str]:
        return wanted - set(prometheus.get("/api/v1/label/__name__/values"))

    with contextlib.suppress(TimeoutError):
        until(lambda: not missing(), 20, "every metric of the contract")
    assert missing() == set()


def test_the_audio_is_counted_once(prometheus: Prometheus, spoken_s: float) -> None:
    until(
        lambda: prometheus.value("emotion_audio_seconds_total") == pytest.approx(spoken_s, abs=0.01),
        20,
        f"{spoken_s:g} s of audio",
    )
    speech_s = prometheus.value("emotion_speech_seconds_total")
    silence_s = prometheus.value("emotion_silence_seconds_total")
    assert 0 < speech_s < spoken_s
    # A counter cannot take back the silence that a later pre-roll turns into speech: a little is in both.
    assert spoken_s - 0.01 <= speech_s + silence_s <= spoken_s + 0.2


def test_frames_are_counted_by_emotion(prometheus: Prometheus, spoken_s: float) -> None:
    """Nothing was lost, so there is a frame for every 10 ms of speech."""
    until(
        lambda: (
            prometheus.value("sum(emotion_frames_total)")
            == pytest.approx(100 * prometheus.value("emotion_speech_seconds_total"), abs=1)
        ),
        20,
        "as many frames as speech",
    )
    assert prometheus.value("sum(emotion_lost_seconds_total)") == 0
    assert prometheus.value("emotion_engine_up") == 1
