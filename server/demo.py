"""`./run.sh demo`: a recording streamed as a microphone would be, drawn in the terminal as the answers come."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np
import socketio
import soundfile
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream.types import LABELS, LABELS_ZH, JsonDict

CHUNK_S = 0.1
READY_S = 120
LOOKS = {  # emoji and colour
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


class Board:
    """What the terminal shows; filled by the socket's thread, drawn by the main one."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = Lock()
        self._now: JsonDict = {}
        self._lines: list[str] = []
        self.position_s = 0.0
        self.speaking = False

    def result(self, payload: JsonDict) -> None:
        with self._lock:
            self._now = payload

    def say(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)

    def take_lines(self) -> list[str]:
        with self._lock:
            lines, self._lines = self._lines, []
            return lines

    def __rich__(self) -> Group:
        bars = Table.grid(padding=(0, 1))
        scores = self._now.get("scores", dict.fromkeys(LABELS, 0.0))
        for label, chinese in zip(LABELS, LABELS_ZH, strict=True):
            length = round(scores[label] * WIDTH)
            emoji, colour = LOOKS[label]
            bar = Text("█" * length + "·" * (WIDTH - length), style=colour)
            bars.add_row(emoji, label, chinese, bar, f"{scores[label]:5.1%}")
        state = "[bold green]● speech[/]" if self.speaking else "[dim]○ quiet[/]"
        latency = f"{self._now['latency_ms']:.0f} ms" if self._now else "–"
        status = f"{state}   {self.position_s:5.1f} s   latency {latency}"
        return Group(Panel(bars, title=self._title, subtitle=status, width=WIDTH + 36))


def main(file: Path, url: str | None, token: str, config: Path) -> int:
    """The exit status: 0, or 1 when the file or the server could not be used."""
    console = Console()
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as broken:
        console.print(f"{file}: {broken}", markup=False)
        return 1
    try:
        with contextlib.ExitStack() as stack:
            address = url or stack.enter_context(_own_server(config, console))
            return _stream(samples.mean(axis=1), rate, file.name, address, token, console)
    except (RuntimeError, socketio.exceptions.SocketIOError) as wrong:
        console.print(f"The demo ended: {wrong}", markup=False)
        return 1


def _stream(samples: np.ndarray, rate: int, name: str, url: str, token: str, console: Console) -> int:
    board = Board(name)
    client = socketio.Client(reconnection=False)
    client.on("emotion_result", board.result)
    client.on("speech", lambda p: setattr(board, "speaking", p["state"] == "start"))
    client.on("utterance_result", lambda p: board.say(_utterance(p)))
    client.on("lost", lambda p: board.say(f"  lost {p['start_ms']}–{p['end_ms']} ms: {p['code']}"))
    client.on("error", lambda p: board.say(f"  {p['code']}: {p['message']}"))
    client.connect(url, auth={"token": token}, transports=["websocket"])
    try:
        # The socket takes 8 to 48 kHz; a recording at a higher rate would need decimation first.
        opened = client.call("start", {"sample_rate": int(rate)})
        if not opened["ok"]:
            raise RuntimeError(f"{opened['error']['code']}: {opened['error']['message']}")
        console.print(f"Streaming {name} to {url}, scored by {opened['model']}. Ctrl-C stops.", markup=False)
        with Live(board, console=console, refresh_per_second=12, transient=False) as live:
            step, began = round(rate * CHUNK_S), time.monotonic()
            for at in range(0, len(samples), step):
                chunk = np.clip(samples[at : at + step] * 32768, -32768, 32767).astype("<i2")
                client.emit("audio_stream", {"chunk": chunk.tobytes()})
                board.position_s = min(at + step, len(samples)) / rate
                for line in board.take_lines():
                    live.console.print(line, markup=False)
                time.sleep(max(0.0, began + (at + step) / rate - time.monotonic()))
            client.call("flush", timeout=30)
            time.sleep(CHUNK_S)
            for line in board.take_lines():
                live.console.print(line, markup=False)
        console.print(_summary(client.call("stop", timeout=30)), markup=False)
    finally:
        client.disconnect()
    return 0


def _utterance(payload: JsonDict) -> str:
    emotion = payload["emotion"]
    start_s, end_s = payload["start_ms"] / 1000, payload["end_ms"] / 1000
    chinese = LABELS_ZH[LABELS.index(emotion)]
    return (
        f"{start_s:6.1f}–{end_s:5.1f} s  {LOOKS[emotion][0]} {emotion} {chinese}  {payload['confidence']:.0%}"
    )


def _summary(payload: JsonDict) -> str:
    speech = f"{payload['speech_ms'] / 1000:.1f} s of speech in {payload['audio_ms'] / 1000:.1f} s"
    share = sorted(payload["share"].items(), key=lambda item: -item[1])
    parts = ", ".join(f"{label} {part:.0%}" for label, part in share if part >= 0.005)
    return f"{speech}; {len(payload['utterances'])} utterances; {parts or 'no emotion scored'}"


@contextlib.contextmanager
def _own_server(config: Path, console: Console) -> Iterator[str]:
    """A server of the demo's own, on a free port, for as long as it lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "server", "serve", "--port", str(port), "--config", str(config)]
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
