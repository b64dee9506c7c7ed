"""A real Prometheus for tests, and somebody who speaks while it looks on."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import socketio
import soundfile

from tests.conftest import free_port

PROMETHEUS = shutil.which("prometheus")
SPOKEN_S = 12.0
PACE = 2.0  # times real time: what runs ahead stays below the server's allowance
CHUNK = 1600  # samples

Found = TypeVar("Found")


class Prometheus:
    """A Prometheus of our own; `config` is that of prometheus.yml, paths in it count from `folder`."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
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

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def scraping(target: str) -> dict[str, Any]:
    """A configuration that scrapes `target` every second."""
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {"job_name": "emotion", "static_configs": [{"targets": [target.removeprefix("http://")]}]}
        ],
    }


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
