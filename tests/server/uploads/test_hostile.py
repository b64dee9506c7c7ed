"""Two hundred uploads that mean harm, many at a time, while people speak: errors for those, nothing for these."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client
from tests.server.conftest import no_traceback, running
from tests.server.recordings import Hostile, hostile, long_silence, wav
from tests.server.uploads.test_routes import FILE, MULTIPART, PATH, SOUND, form

Connect = Callable[..., Client]
NAMES = (
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x.wav",
    "x\x00.wav",
    "x" * 5000,
    "",
    ".",
    "CON",
    "a\r\nb: c",
    "%2e%2e/x",
)


def requests_of(samples: np.ndarray) -> list[tuple[Hostile, bytes]]:
    """Hostile files under hostile names, and forms that are no forms."""
    cases = list(hostile(samples))
    cases.append(Hostile("five hours in a megabyte", partial(long_silence, 18_000), ("FILE_TOO_LARGE",)))
    bodies = []
    for number, case in enumerate(cases):
        name = NAMES[number % len(NAMES)]
        codes = ("BAD_REQUEST",) if "\n" in name else case.codes  # which ends a line of the form's
        body = form((f'name="audio_file"; filename="{name or "x"}"', case.data))
        bodies.append((Hostile(case.what, case.make, codes), body))
    bad = ("BAD_REQUEST",)
    for i in range(1, 40):
        bodies.append((Hostile("a form cut off", bytes, bad), form((FILE, SOUND))[: -10 * i]))
    bodies.append(
        (Hostile("parts without end", bytes, bad), form(*[(f'name="f{i}"', b"x") for i in range(5000)]))
    )
    bodies.append((Hostile("headers without end", bytes, bad), b"--b\r\n" + b"X: y\r\n" * 300_000))
    bodies.append((Hostile("zeros", bytes, bad), bytes(2_000_000)))
    return bodies


def post(server: Server, body: bytes, stream: bool) -> tuple[int, str]:
    """Status and code, whichever way they come."""
    headers = {"Content-Type": MULTIPART, **({"Accept": "application/x-ndjson"} if stream else {})}
    answer = requests.post(server.url + PATH, data=body, headers=headers, timeout=30)
    last: Any = answer.json() if "json" in answer.headers["Content-Type"][:17] else {}
    if answer.headers["Content-Type"].startswith("application/x-ndjson"):
        last = json.loads(answer.text.splitlines()[-1])
    wrong = last.get("error", {"code": f"none: {answer.text[:200]}", "message": ""})
    return wrong.get("status", answer.status_code), wrong["code"]


@pytest.mark.slow
def test_two_hundred_hostile_uploads_harm_nobody(connect: Connect, demo_pcm: bytes, tmp_path: Path) -> None:
    """With the embedded model: four speakers at the pace of speech, eight attackers as fast as they can."""
    samples = np.frombuffer(demo_pcm, "<i2").astype(np.float32) / 32768
    bodies = requests_of(samples)
    assert len(bodies) >= 200
    good = form((FILE, wav(demo_pcm)))
    with running(
        files__outputs=tmp_path, files__max_waiting=40, files__wait_s=100, files__concurrent=2
    ) as server:
        assert post(server, good, False)[0] == 200
        (first,) = tmp_path.iterdir()
        speakers = [connect(server) for _ in range(4)]
        ids = [speaker.start()["session_id"] for speaker in speakers]
        speaking = [threading.Thread(target=s.speak, args=(demo_pcm, 3200, 1.0)) for s in speakers]
        for thread in speaking:
            thread.start()
        with ThreadPoolExecutor(8) as attackers:
            answers = list(attackers.map(lambda x: post(server, x[1][1], x[0] % 2 == 1), enumerate(bodies)))
        for thread in speaking:
            thread.join()
        summaries = [speaker.stop() for speaker in speakers]
        for (case, _), (status, code) in zip(bodies, answers, strict=True):
            assert code in case.codes and 400 <= status < 500, (case.what, status, code)
        assert list(tmp_path.iterdir()) == [first], "nothing is left of any of them"
        for speaker, session_id, summary in zip(speakers, ids, summaries, strict=True):
            book = ledger.of_client(speaker.heard, session_id)
            book.balance()
            assert summary["lost_ms"] == 0 and not book.lost and len(book.scored) > 1500
        assert post(server, good, False)[0] == 200
        memory = psutil.Process(server.process.pid).memory_info().rss
        assert memory < 400e6, memory
        no_traceback(server.log())


@pytest.mark.slow
def test_results_of_one_second_are_as_many_as_were_asked_for(demo_pcm: bytes, tmp_path: Path) -> None:
    body = form((FILE, wav(demo_pcm[:32_000])))
    with running(
        model__name="fake", files__outputs=tmp_path, files__max_waiting=60, files__concurrent=3
    ) as server:
        with ThreadPoolExecutor(20) as many:
            answers = list(many.map(lambda _: post(server, body, False)[0], range(60)))
        assert answers == [200] * 60
        folders = list(tmp_path.iterdir())
        assert len(folders) == 60
        assert all((folder / "result.json").stat().st_size for folder in folders)
