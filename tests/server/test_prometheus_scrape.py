"""A real Prometheus scrapes a real server while somebody speaks, and knows what the contract promises."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.prometheus import PROMETHEUS, Prometheus, scraping, speak, until

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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="there is no prometheus on the PATH (Debian: prometheus)"),
]


@pytest.fixture(scope="module")
def prometheus(live_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(scraping(live_server.url), tmp_path_factory.mktemp("prometheus"))
    try:
        until(server.ready, 30, "prometheus to be ready")
        until(lambda: server.value("up") == 1, 30, "the first scrape")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def spoken_s(prometheus: Prometheus, live_server: Server, demo_wav: Path) -> float:
    """Seconds of speech that were streamed while Prometheus looked on."""
    return asyncio.run(speak(live_server.url, demo_wav))


def test_the_95th_percentile_of_latency_can_be_asked_for(prometheus: Prometheus, spoken_s: float) -> None:
    def p95_s() -> float:
        value = prometheus.value(P95)
        return value if math.isfinite(value) else 0.0

    assert until(p95_s, 60, "a finite percentile") > 0


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
