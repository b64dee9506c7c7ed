"""The disk: a small file that becomes a large result, floods of them, and what others were just given."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest
import requests

from server.storage import OutputStore, size_of
from tests.conftest import Server
from tests.server.conftest import EVENTLET_FIRST, metrics, running
from tests.server.recordings import long_silence
from tests.server.uploads.test_slow import OTHER, STRANGER, post

MB = 1_000_000


def small() -> bytes:
    """A few KB; its result takes 1.3 MB."""
    return long_silence(40)


def large() -> bytes:
    """Its result takes 58 MB."""
    return long_silence(1800)


def taken(folder: Path) -> int:
    return sum(size_of(path) for path in folder.iterdir())


def code(answer: requests.Response) -> str:
    return "ok" if answer.status_code == 200 else str(answer.json()["error"]["code"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_fresh_results_stay_and_one_address_takes_half(mode: str, tmp_path: Path) -> None:
    with running(
        model__name="fake", server__async_mode=mode, files__outputs=tmp_path, files__keep_gb=0.004
    ) as server:
        first = post(server, small(), OTHER)
        mine = post(server, small(), STRANGER)
        assert (code(first), code(mine)) == ("ok", "ok")
        refused = post(server, small(), STRANGER)
        assert (refused.status_code, code(refused)) == (507, "NO_ROOM"), refused.text
        assert int(refused.headers["Retry-After"]) >= 1 and "half" in refused.json()["error"]["message"]
        assert {path.name for path in tmp_path.iterdir()} == {first.json()["id"], mine.json()["id"]}
        assert code(post(server, small(), "127.0.0.4")) == "ok", "others are not shut out"
        assert "full of recent results" in post(server, small(), "127.0.0.5").json()["error"]["message"], (
            "now all is taken"
        )
        assert taken(tmp_path) <= 4 * MB
        assert requests.delete(f"{server.url}/api/v1/results/{mine.json()['id']}", timeout=10).ok
        assert code(post(server, small(), STRANGER)) == "ok", "what is removed makes room at once"
        assert metrics(server)['emotion_files_total{result="NO_ROOM"}'] == 2


@pytest.mark.slow
def test_a_small_file_that_becomes_a_large_result_is_stopped_while_it_is_written(tmp_path: Path) -> None:
    most = []

    def look(server: Server) -> None:
        while server.process.poll() is None:
            with_it = 0
            for at, _, names in os.walk(tmp_path):  # which passes over folders that vanish meanwhile
                for name in names:
                    with contextlib.suppress(OSError):
                        with_it += (Path(at) / name).stat().st_size
            most.append(with_it)
            time.sleep(0.01)

    with running(model__name="fake", files__outputs=tmp_path, files__keep_gb=0.006) as server:
        looking = threading.Thread(target=look, args=(server,))
        looking.start()
        kept = post(server, small(), OTHER).json()["id"]
        assert code(post(server, large(), STRANGER)) == "NO_ROOM"
        assert [path.name for path in tmp_path.iterdir()] == [kept]
    looking.join()
    assert max(most) < 50 * MB, "it would have been 58"


@pytest.mark.slow
def test_the_oldest_make_room_when_something_is_written_and_not_ten_minutes_later(tmp_path: Path) -> None:
    with running(
        model__name="fake", files__outputs=tmp_path, files__keep_gb=0.004, files__fresh_s=0
    ) as server:
        names = []
        for _ in range(5):
            answer = post(server, small(), STRANGER)
            assert answer.status_code == 200, answer.text
            names.append(answer.json()["id"])
            assert taken(tmp_path) <= 4 * MB
            time.sleep(1.1)  # between two sweeps
        here = {path.name for path in tmp_path.iterdir()}
        assert names[-1] in here and names[0] not in here


def test_a_sweep_leaves_what_is_fresh_and_says_how_much_stays(tmp_path: Path) -> None:
    store, now = OutputStore(tmp_path, keep_days=1, keep_gb=2500 / 1e9), time.time()
    for age_s in (1000, 500, 10):
        with store.folder("outputs", str(age_s)) as draft:
            (draft / "x").write_bytes(bytes(2000))
        os.utime(tmp_path / draft.name[1:], (now - age_s, now - age_s))
    assert store.sweep(fresh_s=600) == 1 and store.kept_bytes == 4000
    assert store.sweep(fresh_s=600) == 0
    assert store.sweep() == 1 and store.kept_bytes == 2000
