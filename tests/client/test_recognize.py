"""Files of the Python client, against a real server; and that REST, result.json, the CLI and the client agree."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from emotion_stream_client import AsyncEmotionClient, EmotionClient, EmotionError, Recognition

from tests.client.proxy import Proxy
from tests.conftest import ROOT, Server
from tests.server.clients import eventually
from tests.server.conftest import running

Json = dict[str, Any]
WHEN = {"timestamp", "timestamp_utc"}  # differ between two requests


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(EmotionError) as refused:
        call()
    return refused.value.code


def over_rest(server: Server, path: Path, granularity: str) -> Json:
    """As a program without any client would ask."""
    boundary = "b0undary"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="granularity"\r\n\r\n{granularity}\r\n',
        f'--{boundary}\r\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\r\n\r\n',
    ]
    body = "".join(parts).encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(f"{server.url}/api/v1/emotion/recognize", body)
    request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: Json = json.loads(answer.read())
    return found


def over_cli(path: Path, granularity: str) -> Json:
    command = [sys.executable, "-m", "cli", "analyze", str(path), "--json", "--granularity", granularity]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: Json = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_rest_the_command_line_and_the_client_agree_to_the_last_digit(
    server: Server, client: EmotionClient, demo_wav: Path, tmp_path: Path, granularity: str
) -> None:
    mine = client.recognize(demo_wav, granularity=granularity)
    saved = json.loads(client.download(mine, "result.json", tmp_path).read_text(encoding="utf-8"))
    rest, cli = over_rest(server, demo_wav, granularity), over_cli(demo_wav, granularity)
    same = saved.keys() - {*WHEN, "file_name"}
    assert saved["file_name"] == demo_wav.name
    assert same >= {"model", "duration_s", "granularity", "utterances"}
    assert same >= ({"frame_scores"} if granularity == "frame" else {"emotion", "confidence", "scores"})
    for other in (mine.raw, rest, cli):
        assert {name: other[name] for name in same} == {name: saved[name] for name in same}
    assert mine.scores == rest["scores"]
    assert [u.scores for u in mine.utterances] == [u["scores"] for u in cli["utterances"]]
    if granularity == "frame":
        assert mine.frame_scores.tolist() == cli["frame_scores"]
        assert mine.frame_start_ms.tolist() == cli["frame_start_ms"]


def test_a_recognition_is_typed_and_its_files_can_be_had(
    client: EmotionClient, demo_wav: Path, tmp_path: Path
) -> None:
    found = client.recognize(demo_wav, granularity="frame", embedding=True)
    assert isinstance(found, Recognition) and found.emotion in found.scores
    assert found.confidence == found.scores[found.emotion] == max(found.scores.values())
    assert found.model == "compact" and found.duration_s == pytest.approx(20.665)
    assert found.frame_scores.shape == (len(found.frame_emotions or []), 9)
    assert found.frame_scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert [u.start_ms for u in found.utterances] == sorted(u.start_ms for u in found.utterances)
    vector = client.embedding(found)
    saved = client.download(found, "embedding.npy", tmp_path / "mine.npy")
    assert np.array_equal(np.load(saved, allow_pickle=False), vector) and vector.dtype == np.float32
    heard, rate = soundfile.read(client.download(found, "processed_audio.wav", tmp_path))
    assert rate == 16_000 and len(heard) / rate == pytest.approx(found.duration_s, abs=1e-3)
    assert client.download(found.id, "result.csv", tmp_path).read_text().startswith("start_ms,")
    client.delete(found)
    assert code_of(lambda: client.embedding(found)) == "NOT_FOUND"
    assert code_of(lambda: client.delete(found)) == "NOT_FOUND"
    assert code_of(lambda: client.download("../../etc", "passwd", tmp_path)) == "NOT_FOUND"


def test_a_recording_may_be_a_path_bytes_or_a_file(client: EmotionClient, demo_wav: Path) -> None:
    expected = client.recognize(str(demo_wav)).scores
    data = demo_wav.read_bytes()
    assert client.recognize(data).scores == expected
    assert client.recognize(io.BytesIO(data)).scores == expected
    with demo_wav.open("rb") as file:
        assert client.recognize(file).scores == expected
        assert not file.closed
    compressed = io.BytesIO()
    samples, rate = soundfile.read(demo_wav, dtype="int16")
    soundfile.write(compressed, samples, rate, format="FLAC")
    assert client.recognize(compressed.getvalue()).scores == expected
    with demo_wav.open(encoding="latin-1") as text, pytest.raises(TypeError, match="rb"):
        client.recognize(text)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        client.recognize("no-such-file.wav")


def test_steps_and_progress_are_told_in_the_callers_thread(client: EmotionClient, demo_wav: Path) -> None:
    steps: list[str] = []
    threads = set()

    def tell(step: Json) -> None:
        steps.append(step["step"])
        threads.add(threading.current_thread())

    progress: list[Json] = []
    client.recognize(demo_wav, on_step=tell, on_progress=progress.append)
    assert steps == ["receive", "decode", "resample", "detect_speech", "score", "save"]
    assert threads == {threading.current_thread()}
    assert all(p["done_s"] <= p["total_s"] for p in progress)

    def fault(_: Json) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.recognize(demo_wav, on_step=fault)


def test_errors_have_codes_messages_and_status(server: Server, client: EmotionClient, demo_wav: Path) -> None:
    for wrong, code, status in [
        (b"", "NO_AUDIO", 422),
        (b"this is no audio, whatever its name says" * 10, "UNSUPPORTED_MEDIA", 415),
    ]:
        with pytest.raises(EmotionError) as refused:
            client.recognize(wrong)
        assert (refused.value.code, refused.value.status) == (code, status), refused.value
        assert refused.value.message and str(refused.value).startswith(code)
    with pytest.raises(EmotionError) as refused:
        client.recognize(demo_wav, granularity="syllable")
    assert (refused.value.code, refused.value.status) == ("BAD_REQUEST", 400)
    with EmotionClient(server.url + "/static") as lost:  # a server, but not at this address
        assert code_of(lambda: lost.recognize(demo_wav)) in ("METHOD_NOT_ALLOWED", "NOT_FOUND", "PROTOCOL")


@pytest.mark.slow
def test_a_file_that_is_too_large_is_refused_with_words(demo_wav: Path, tmp_path: Path) -> None:
    with running(model__name="fake", files__max_upload_mb=2, files__outputs=tmp_path) as server:
        for size in (3_000_000, 60_000_000):  # with and without the end of it being read
            with EmotionClient(server.url) as client, pytest.raises(EmotionError) as refused:
                client.recognize(bytes(size))
            assert (refused.value.code, refused.value.status) == ("FILE_TOO_LARGE", 413)


def test_a_connection_that_breaks_is_told(proxy: Proxy, demo_wav: Path) -> None:
    proxy.frozen = True
    with EmotionClient(proxy.url) as client:
        threading.Timer(0.3, proxy.cut).start()
        assert code_of(lambda: client.recognize(demo_wav)) == "DISCONNECTED"
    with EmotionClient(proxy.url, timeout_s=0.5) as client:
        assert code_of(lambda: client.recognize(demo_wav)) == "DISCONNECTED"


@pytest.mark.slow
def test_a_busy_server_is_asked_again_for_as_long_as_one_likes(demo_wav: Path, tmp_path: Path) -> None:
    few: Json = {"files__concurrent": 1, "files__max_waiting": 0, "files__wait_s": 0}
    with running(model__name="fake", files__outputs=tmp_path, **few) as server:
        codes: list[str] = []
        found: list[Recognition] = []

        def ask(retry_timeout_s: float) -> None:
            with EmotionClient(server.url) as client:
                try:
                    found.append(client.recognize(demo_wav, retry_timeout_s=retry_timeout_s))
                except EmotionError as wrong:
                    codes.append(wrong.code)
                    assert wrong.status == 429 and (wrong.retry_after or 0) > 0

        for retry_timeout_s in (0, 60):
            threads = [threading.Thread(target=ask, args=(retry_timeout_s,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(90)
            if not retry_timeout_s:
                assert set(codes) == {"BUSY"} and len(codes) + len(found) == 3
                codes.clear()
                found.clear()
        assert codes == [] and len(found) == 3


def test_with_asyncio_many_at_once(server: Server, demo_wav: Path) -> None:
    async def work() -> list[Recognition]:
        async with AsyncEmotionClient(server.url) as client:
            assert (await client.status())["ready"]
            asked = [client.recognize(demo_wav, retry_timeout_s=60, embedding=True) for _ in range(4)]
            found = await asyncio.gather(*asked)
            assert len(await client.embedding(found[0])) > 0
            await client.delete(found[0])
        return found

    found = asyncio.run(work())
    assert len({r.id for r in found}) == 4
    assert all(r.scores == found[0].scores for r in found)


def test_a_canceled_request_leaves_nothing_behind(server: Server, proxy: Proxy, demo_wav: Path) -> None:
    async def work() -> None:
        async with AsyncEmotionClient(proxy.url) as client:
            proxy.frozen = True
            task = asyncio.create_task(client.recognize(demo_wav))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(work())
    with EmotionClient(server.url) as client:
        assert eventually(lambda: client.recognize(demo_wav), "the server goes on")
