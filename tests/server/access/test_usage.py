"""Limits of keys: sessions at once, audio of a day, recordings of an hour, bytes; in all workers together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from server.access.identity import Identity, KeyLimits
from server.access.key_file import KeyFile
from server.access.usage import DAY_S, FILE, Usage
from server.config import ConfigError
from server.errors import ClientError
from tests.conftest import ROOMY, ROOT, Server
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running

Connect = Callable[..., Client]
SPEECH = (ROOT / "demo" / "conversation.wav").read_bytes()
SECOND = b"\x01\x02" * 16_000


def holder(**limits: float) -> Identity:
    return Identity(frozenset({"stream", "files"}), "acme", "0" * 12, "x", KeyLimits(**limits))


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as told:
        act()
    return told.value.code


def test_sessions_are_counted_in_all_workers_and_not_those_of_one_that_ended(tmp_path: Path) -> None:
    one, other = (Usage(tmp_path, worker, 2) for worker in (0, 1))
    key = holder(sessions=2)
    one.open_session(key)
    other.open_session(key)
    assert code_of(lambda: one.open_session(key)) == "TOO_MANY_SESSIONS"
    other.close_session(key)
    other.close_session(key)  # one too many takes nobody else's away
    one.open_session(key)
    assert code_of(lambda: other.open_session(key)) == "TOO_MANY_SESSIONS"
    one.open_session(key, again=True)  # it comes from another worker, and has been admitted
    one = Usage(tmp_path, 0, 2)  # the successor of one that was killed
    other.open_session(key)
    one.open_session(key)
    Usage(tmp_path, 5, 6).close_session(key)


def test_what_was_had_outlives_a_restart_and_ends_with_its_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = holder(audio_minutes_per_day=1, uploads_per_hour=1, upload_mb_per_day=1)
    began = DAY_S * 20_000 + 1000.0
    monkeypatch.setattr(time, "time", lambda: began)
    Usage(tmp_path).audio(key, 50)
    usage = Usage(tmp_path)
    usage.open_session(key)
    assert code_of(lambda: usage.audio(key, 20)) == "QUOTA_EXCEEDED", "counted even where it is too much"
    with pytest.raises(ClientError) as told:
        usage.open_session(key)
    assert told.value.retry_after_s == DAY_S - 1000
    usage.upload(key)
    assert code_of(lambda: usage.upload(key)) == "QUOTA_EXCEEDED"
    usage.upload_bytes(key, 999_999)
    assert code_of(lambda: usage.upload_bytes(key, 2)) == "QUOTA_EXCEEDED"
    usage.upload_bytes(key, 1)
    monkeypatch.setattr(time, "time", lambda: began + 3600)
    usage.upload(key)
    monkeypatch.setattr(time, "time", lambda: began + DAY_S)
    usage.open_session(key)


def test_whoever_has_no_limits_is_not_counted_and_a_broken_file_is_told_at_start(tmp_path: Path) -> None:
    free = Usage(None)
    for act in (free.open_session, free.close_session, free.upload):
        act(holder())
    free.audio(holder(), 1e9)
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match=FILE):
        Usage(tmp_path)


@dataclass(frozen=True)
class Metered:
    server: Server
    file: KeyFile

    def key(self, **limits: float) -> str:
        _, presented = self.file.add("x", ("stream", "files"), "acme", KeyLimits(**limits))
        headers = {"Authorization": f"Bearer {presented}"}
        eventually(
            lambda: requests.get(f"{self.server.url}/api/v1/status", headers=headers, timeout=60).ok,
            "the key is in effect",
        )
        return presented

    def upload(self, key: str) -> requests.Response:
        return requests.post(
            f"{self.server.url}/api/v1/emotion/recognize",
            files={"audio_file": ("a.wav", SPEECH)},
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
        )


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["one", "workers"])
def metered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metered]:
    folder = tmp_path_factory.mktemp("metered")
    settings = {"access__keys_file": str(folder / "keys.json"), "files__outputs": str(folder / "outputs")}
    with running(model__name="fake", server__workers=request.param, **{**ROOMY, **settings}) as server:
        yield Metered(server, KeyFile(folder / "keys.json"))
        no_traceback(server.log())


def test_a_key_has_so_many_sessions_at_once_over_all_its_connections(
    metered: Metered, connect: Connect
) -> None:
    key = metered.key(sessions=3)
    clients = [connect(metered.server, auth={"token": key}) for _ in range(4)]
    for client in clients[:3]:
        client.start()
    told = clients[3].call("start", {})["error"]
    assert told["code"] == "TOO_MANY_SESSIONS" and "3" in told["message"]
    assert connect(metered.server, auth={"token": metered.key()}).start()["ok"], "nobody else is held to it"
    clients[0].stop()
    assert clients[3].start()["ok"]


def test_a_key_whose_minutes_are_over_is_heard_no_more_and_told_until_when(
    metered: Metered, connect: Connect
) -> None:
    key = metered.key(audio_minutes_per_day=0.05)
    client = connect(metered.server, auth={"token": key})
    client.start()

    def told() -> str:
        answer = client.call("audio_stream", {"chunk": SECOND})
        return "ok" if answer["ok"] else str(answer["error"]["code"])

    assert told() == "ok"
    eventually(lambda: told() == "QUOTA_EXCEEDED", "its minutes are over")
    refused = connect(metered.server, auth={"token": key}).call("start", {})["error"]
    assert refused["code"] == "QUOTA_EXCEEDED" and 0 < refused["retry_after_s"] <= DAY_S
    assert client.stop()["ok"], "what it had is told"


def test_a_key_may_send_so_many_recordings_and_so_many_bytes(metered: Metered) -> None:
    few = metered.key(uploads_per_hour=1)
    assert metered.upload(few).ok
    refused = metered.upload(few)
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "QUOTA_EXCEEDED"
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    small = metered.key(upload_mb_per_day=len(SPEECH) / 2e6)
    assert metered.upload(small).json()["error"]["code"] == "QUOTA_EXCEEDED"
    assert metered.upload(metered.key()).ok
