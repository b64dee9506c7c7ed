"""`./run.sh demo`: a recording streamed as a microphone would be, drawn in the terminal as the answers come."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from emotion_stream_client import (
    EmotionClient,
    EmotionError,
    Event,
    Lost,
    Refused,
    Result,
    Speech,
    State,
    Summary,
    Utterance,
    Waiting,
)
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream.codec import Resampler
from stream.types import LABELS, SAMPLE_RATE, Floats

CHUNK_S = 0.1
READY_S = 120
CONNECT_TIMEOUT_S = 5  # with a server that is not there
LOOKS = {  # emoji and color
    "angry": ("😠", "red"),
    "disgusted": ("🤢", "green"),
    "fearful": ("😨", "magenta"),
    "happy": ("😊", "yellow"),
    "neutral": ("😐", "white"),
    "other": ("🤔", "cyan"),
    "sad": ("😢", "blue"),
    "surprised": ("😮", "bright_yellow"),
    "unknown": ("❓", "bright_black"),
}
WIDTH = 40  # of a full bar


class Display:
    """What the terminal shows."""

    def __init__(self, title: str, labels_zh: Sequence[str]) -> None:
        self.title, self._labels_zh = title, labels_zh
        self._now: Result | None = None
        self._speaking = False
        self.position_s = 0.0

    def take(self, event: Event) -> str | None:
        """Draw what came; a line to say about it, if it is worth one."""
        match event:
            case Result():
                self._now = event
            case Speech():
                self._speaking = event.state == "start"
            case Utterance():
                return _utterance(event, self._labels_zh)
            case Lost():
                return f"  lost {event.start_ms}–{event.end_ms} ms: {event.code}"
            case Waiting() | Refused():
                return f"  {event.code}: {event.message}"
            case State(state="offline"):
                return "  the connection broke; trying again …"
        return None

    def __rich__(self) -> Group:
        bars = Table.grid(padding=(0, 1))
        scores = self._now.scores if self._now else dict.fromkeys(LABELS, 0.0)
        for label, chinese in zip(LABELS, self._labels_zh, strict=True):
            length = round(scores[label] * WIDTH)
            emoji, color = LOOKS[label]
            bar = Text("█" * length + "·" * (WIDTH - length), style=color)
            bars.add_row(emoji, label, chinese, bar, f"{scores[label]:5.1%}")
        state = "[bold green]● speech[/]" if self._speaking else "[dim]○ quiet[/]"
        latency = f"{self._now.latency_ms:.0f} ms" if self._now else "–"
        status = f"{state}   {self.position_s:5.1f} s   latency {latency}"
        return Group(Panel(bars, title=self.title, subtitle=status, width=WIDTH + 36))


def main(file: Path, url: str | None, token: str, config: Path, labels_zh: Sequence[str]) -> int:
    """`labels_zh`: what the nine labels are called in Chinese.

    The exit status: 0, or 1 when the file or the server could not be used.
    """
    console = Console()
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as broken:
        console.print(f"{file}: {broken}", markup=False)
        return 1
    try:
        with contextlib.ExitStack() as stack:
            address = url or stack.enter_context(_own_server(config, console))
            return _stream(samples.mean(axis=1), rate, Display(file.name, labels_zh), address, token, console)
    except (RuntimeError, EmotionError) as wrong:
        console.print(f"The demo ended: {wrong}", markup=False)
        return 1


def _stream(samples: Floats, rate: int, board: Display, url: str, token: str, console: Console) -> int:
    resampler = Resampler()
    samples = np.concatenate([resampler.push(samples, rate), resampler.finish()])
    with EmotionClient(url, token) as client, client.stream(connect_timeout_s=CONNECT_TIMEOUT_S) as stream:
        model = stream.session["model"]
        console.print(f"Streaming {board.title} to {url}, scored by {model}. Ctrl-C stops.", markup=False)
        with Live(board, console=console, refresh_per_second=12, transient=False) as live:

            def show() -> None:
                for event in stream.poll():
                    if line := board.take(event):
                        live.console.print(line, markup=False)

            step, began = round(SAMPLE_RATE * CHUNK_S), time.monotonic()
            for at in range(0, len(samples), step):
                stream.send(samples[at : at + step])
                board.position_s = min(at + step, len(samples)) / SAMPLE_RATE
                show()
                time.sleep(max(0.0, began + (at + step) / SAMPLE_RATE - time.monotonic()))
            summary = stream.stop()
            show()
        console.print(_summary(summary), markup=False)
    return 0


def _utterance(said: Utterance, labels_zh: Sequence[str]) -> str:
    chinese = labels_zh[LABELS.index(said.emotion)]
    return (
        f"{said.start_ms / 1000:6.1f}–{said.end_ms / 1000:5.1f} s"
        f"  {LOOKS[said.emotion][0]} {said.emotion} {chinese}  {said.confidence:.0%}"
    )


def _summary(told: Summary) -> str:
    speech = f"{told.speech_ms / 1000:.1f} s of speech in {told.audio_ms / 1000:.1f} s"
    share = sorted(told.share.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{label} {part:.0%}" for label, part in share if part >= 0.005)
    return f"{speech}; {len(told.utterances)} utterances; {parts or 'no emotion scored'}"


@contextlib.contextmanager
def _own_server(config: Path, console: Console) -> Iterator[str]:
    """A server of the demo's own, on a free port, for as long as it lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "cli", "serve", "--port", str(port), "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            with console.status("starting a server …"):
                _wait_ready(url, server)
            yield url
        finally:
            server.terminate()


def _wait_ready(url: str, server: subprocess.Popen[str]) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if server.poll() is not None:
            said = server.stdout.read() if server.stdout else ""
            raise RuntimeError(f"the server did not start:\n{said}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready within {READY_S} s")
