"""The model process dies, hangs, cannot start, or loses its parent: nobody is left without an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from server.engine import EngineSettings, Timing
from server.engine.process import ProcessEngine
from stream.types import Answer, Failed, Window
from tests.conftest import ROOT
from tests.server.engine.material import (
    Desk,
    alive,
    check_scores,
    poison,
    running,
    started,
    stop_child,
    until,
    window,
)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where engines make their folders. Short: the path of a Unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="es-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def kill(engine: ProcessEngine) -> int:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_windows_submitted_while_the_model_loads_are_scored_when_it_has() -> None:
    engine, desk = ProcessEngine(EngineSettings(model="fake"), "CRITICAL"), Desk()
    assert engine.spec is None and not engine.health().up and engine.health().error
    engine.start()
    for i in range(50):
        engine.submit(window(i), desk.reply)
    desk.wait(50)
    engine.close()
    desk.check_once(50)
    check_scores([window(i) for i in range(50)], desk)


def test_what_a_killed_child_held_is_scored_by_the_next_one() -> None:
    engine, desk = started(), Desk()
    first = stop_child(engine)
    windows = [window(i, 10 + i % 4) for i in range(200)]
    for w in windows:
        engine.submit(w, desk.reply)
    os.kill(first, signal.SIGKILL)
    until(lambda: engine.health().restarts == 1 and engine.health().up)
    desk.wait(200)
    assert engine.pid not in (None, first) and not alive(first)
    assert engine.health().error is None and engine.spec is not None
    engine.close()
    desk.check_once(200)
    check_scores(windows, desk)


def test_windows_that_are_submitted_while_the_child_dies_are_scored() -> None:
    engine, desk, refused = started(), Desk(), []
    count = iter(range(10_000))
    stop = threading.Event()

    def stream() -> None:
        while not stop.wait(0.001):
            try:
                engine.submit(window(next(count)), desk.reply)
            except Exception as error:
                refused.append(error)

    thread = threading.Thread(target=stream)
    thread.start()
    for restarts in (1, 2):
        until(lambda: len(desk.answers) > 20 and engine.health().waiting < 10)  # nothing is quarantined
        kill(engine)
        until(lambda restarts=restarts: engine.health().restarts == restarts and engine.health().up)  # type: ignore[misc]
    stop.set()
    thread.join()
    n = next(count)
    assert not refused
    desk.wait(n)
    engine.close()
    desk.check_once(n)
    assert desk.codes() == {"scores": n}


def test_a_window_that_kills_two_children_fails_and_all_others_are_scored() -> None:
    engine, desk = started(), Desk()
    stop_child(engine)
    windows = [poison(i) if i == 9 else window(i) for i in range(40)]
    for w in windows:
        engine.submit(w, desk.reply)
    os.kill(engine.pid or 0, signal.SIGCONT)
    desk.wait(40)
    for i in range(40, 60):
        engine.submit(window(i), desk.reply)
    desk.wait(60)
    engine.close()
    desk.check_once(60)
    guilty = desk.answers[9]
    assert isinstance(guilty, Failed) and guilty.code == "INFERENCE_FAILED" and "twice" in guilty.message
    check_scores([window(i) for i in range(60) if i != 9], desk)
    assert engine.health().restarts == 2


def test_several_windows_that_kill_are_found_one_by_one() -> None:
    engine, desk = started(), Desk()
    stop_child(engine)
    guilty = {0, 11}
    for i in range(12):
        engine.submit(poison(i) if i in guilty else window(i), desk.reply)
    os.kill(engine.pid or 0, signal.SIGCONT)
    desk.wait(12)
    engine.close()
    desk.check_once(12)
    assert {i for i, a in desk.answers.items() if isinstance(a, Failed)} == guilty
    assert engine.health().restarts == 1 + len(guilty)


def test_a_quarantined_window_that_is_innocent_is_not_blamed_for_what_comes_after_it() -> None:
    engine, desk = started(), Desk()

    def reply(answered: Window, answer: Answer, timing: Timing) -> None:
        desk.reply(answered, answer, timing)
        if answered.first_frame == 2:  # the next one is already on its way: hold the child, and poison it
            pid = stop_child(engine)
            engine.submit(poison(20), desk.reply)
            os.kill(pid, signal.SIGCONT)

    pid = stop_child(engine)
    for i in range(20):
        engine.submit(window(i), reply)
    os.kill(pid, signal.SIGKILL)
    desk.wait(21)
    engine.close()
    desk.check_once(21)
    check_scores([window(i) for i in range(20)], desk)
    assert desk.codes() == {"scores": 20, "INFERENCE_FAILED": 1}


def test_killing_a_child_twice_from_outside_costs_one_window_at_most() -> None:
    engine, desk = started(), Desk()
    stop_child(engine)
    for i in range(30):
        engine.submit(window(i), desk.reply)
    kill(engine)
    until(lambda: engine.health().restarts == 1 and engine.health().up)
    kill(engine)
    desk.wait(30)
    engine.close()
    desk.check_once(30)
    assert desk.codes()["INFERENCE_FAILED"] <= 1


@pytest.mark.slow
def test_a_child_that_hangs_is_replaced_and_what_it_held_is_scored() -> None:
    engine, desk = started(heartbeat_timeout_s=1.3), Desk()
    hung = stop_child(engine)
    for i in range(10):
        engine.submit(window(i), desk.reply)
    desk.wait(10)
    assert engine.health().restarts == 1 and engine.pid != hung and not alive(hung)
    engine.close()
    desk.check_once(10)
    check_scores([window(i) for i in range(10)], desk)


@pytest.mark.slow
def test_a_child_that_has_nothing_to_do_is_not_taken_for_hung() -> None:
    engine = started(heartbeat_timeout_s=1.3)
    time.sleep(1.8)
    assert engine.health().up and engine.health().restarts == 0
    engine.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EngineSettings(model="emotion3vec", deadline_s=60), "is called 'emotion3vec'; models: compact"),
        (
            EngineSettings(model="compact", device="tpu", deadline_s=60),
            "device 'tpu': not one of auto, cpu, cuda",
        ),
        pytest.param(
            EngineSettings(model="fake", kind="ray", deadline_s=60),
            "engine.kind: ray needs Ray, which is not installed: ./run.sh install ray",
            marks=pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed here"),
        ),
    ],
)
def test_settings_that_cannot_work_are_named_and_not_tried_again(
    settings: EngineSettings, message: str, folder: Path
) -> None:
    engine, desk = ProcessEngine(settings, "CRITICAL"), Desk()
    engine.start()
    engine.submit(window(0), desk.reply)
    until(lambda: engine.health().fatal, 60)
    assert message in (engine.health().error or "")
    desk.wait(1)
    engine.submit(window(1), desk.reply)
    assert desk.codes() == {"NOT_READY": 2}
    assert all(isinstance(a, Failed) and message in a.message for a in desk.answers.values())
    health = engine.health()
    assert (health.up, health.waiting, health.restarts) == (False, 0, 0)
    assert engine.spec is None
    engine.close()
    assert not list(folder.iterdir())


def test_a_machine_that_cannot_start_a_child_is_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "not there yet"))
    engine, desk = ProcessEngine(EngineSettings(model="fake"), "CRITICAL"), Desk()
    engine.start()
    engine.submit(window(0), desk.reply)
    until(lambda: "not there yet" in (engine.health().error or ""))
    assert not engine.health().up and not engine.health().fatal
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    desk.wait(1)
    engine.close()
    check_scores([window(0)], desk)


def test_a_folder_for_temporary_files_with_a_long_name_is_no_place_for_a_socket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = folder / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    engine, desk = started(), Desk()
    engine.submit(window(0), desk.reply)
    desk.wait(1)
    assert not list(long.iterdir())
    engine.close()
    check_scores([window(0)], desk)
    monkeypatch.setattr("server.engine.child.SHORT_FOLDER", str(long))
    hopeless = ProcessEngine(EngineSettings(model="fake"), "CRITICAL")
    hopeless.start()
    until(lambda: hopeless.health().fatal)
    assert "TMPDIR" in (hopeless.health().error or "") and hopeless.health().restarts == 0
    hopeless.close()


def test_after_a_crash_those_who_speak_do_not_wait_for_a_files_windows() -> None:
    engine, desk = started(), Desk()
    pid = stop_child(engine)
    for i in range(8):
        engine.submit(window(i, background=i < 4), desk.reply)
    os.kill(pid, signal.SIGKILL)
    desk.wait(8)
    engine.close()
    desk.check_once(8)
    assert sorted(list(desk.answers)[:4]) == [4, 5, 6, 7]


def test_nothing_is_left_behind(folder: Path) -> None:
    engine = started()
    first = kill(engine)
    until(lambda: engine.health().restarts == 1 and engine.health().up)
    second = engine.pid
    assert second is not None and len(list(folder.iterdir())) == 1
    assert folder.stat().st_mode and (next(folder.iterdir()).stat().st_mode & 0o077) == 0, "for nobody else"
    engine.close()
    assert not alive(first) and not alive(second)
    assert not list(folder.iterdir())
    assert engine.pid is None


ORPHAN = """
import sys, time
from server.engine import EngineSettings
from server.engine.child import Child
child = Child(EngineSettings(model="fake"), {"log_level": "CRITICAL", "log_format": "text"})
print(child.pid, flush=True)
if sys.argv[1] != "loading":
    while child.receive(1.0) is None:
        pass
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("moment", ["loading", "ready", "stopped"])
def test_a_child_ends_with_its_parent_and_cleans_up_after_it(moment: str, folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, moment],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if moment != "loading":
        assert parent.stdout.readline() == "ready\n"
    if moment == "stopped":
        os.kill(pid, signal.SIGSTOP)
    assert running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not running(pid), 10)
    assert not list(folder.iterdir())
