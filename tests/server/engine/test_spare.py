"""The second model process: it takes over at once, its own faults cost nothing, and it goes with the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from server.engine.process import ProcessEngine
from tests.conftest import ROOT
from tests.server.engine.material import Desk, check_scores, running, started, stop_child, until, window


def kill(engine: ProcessEngine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


def workers() -> list[psutil.Process]:
    """The model processes of this process."""
    children = psutil.Process().children()
    return [
        c for c in children if c.status() != psutil.STATUS_ZOMBIE and "server.engine.worker" in c.cmdline()
    ]


def loaded_twice() -> ProcessEngine:
    engine = started(spare=True)
    until(lambda: engine.replicas[0].spare.ready)
    assert len(workers()) == 2
    return engine


def test_when_the_first_dies_the_spare_has_its_windows_at_once_and_is_replaced() -> None:
    engine, desk = loaded_twice(), Desk()
    (spare,) = [child.pid for child in workers() if child.pid != engine.pid]
    stop_child(engine)
    for i in range(10):
        engine.submit(window(i), desk.reply)
    kill(engine)
    desk.wait(10)
    assert engine.pid == spare and engine.health().restarts == 1
    until(lambda: engine.replicas[0].spare.ready)
    assert len(workers()) == 2
    engine.close()
    desk.check_once(10)
    check_scores([window(i) for i in range(10)], desk)
    assert not workers()


@pytest.mark.slow
def test_when_the_first_freezes_it_is_known_before_it_is_replaced_and_nothing_is_lost() -> None:
    engine, desk = loaded_twice(), Desk()  # heartbeat_timeout_s as the model says: 5 s
    frozen, began = stop_child(engine), time.monotonic()
    for i in range(10):
        engine.submit(window(i), desk.reply)
    until(lambda: not engine.health().up, 4.5)
    assert "not answered" in (engine.health().error or "") and running(frozen)
    desk.wait(10)
    assert time.monotonic() - began > 4 and engine.health().up and engine.health().restarts == 1
    engine.close()
    desk.check_once(10)
    assert desk.codes() == {"scores": 10}


def test_a_spare_that_dies_is_told_of_and_the_first_serves_on() -> None:
    engine, desk = loaded_twice(), Desk()
    (spare,) = [child for child in workers() if child.pid != engine.pid]
    spare.kill()
    until(lambda: not engine.replicas[0].spare.ready)
    engine.submit(window(0), desk.reply)
    desk.wait(1)
    assert engine.health().up and engine.health().restarts == 0
    kill(engine)  # and without one, a successor is loaded as ever
    engine.submit(window(1), desk.reply)
    desk.wait(2)
    engine.close()
    desk.check_once(2)
    assert desk.codes() == {"scores": 2} and not workers()


def test_both_die_at_the_same_moment() -> None:
    engine, desk = loaded_twice(), Desk()
    stop_child(engine)
    for i in range(5):
        engine.submit(window(i), desk.reply)
    for child in workers():
        os.kill(child.pid, signal.SIGKILL)
    desk.wait(5)
    engine.close()
    desk.check_once(5)
    check_scores([window(i) for i in range(5)], desk)


@pytest.mark.slow
def test_a_pause_of_the_server_is_no_silence_of_the_model() -> None:
    """A machine that was suspended wakes up with everybody silent for hours."""
    program = """
import sys
from tests.server.engine.material import started
engine = started(heartbeat_timeout_s=3)
pid = engine.pid
print("up", flush=True)
sys.stdin.readline()
print(engine.health().restarts, engine.pid == pid, flush=True)
engine.close()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin and server.stdout and server.stdout.readline() == "up\n"
        family = psutil.Process(server.pid)
        model = family.children()
        for process in (family, *model):
            process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        server.send_signal(signal.SIGCONT)
        time.sleep(0.6)  # the model wakes up later than the server
        for process in model:
            process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        server.stdin.write("\n")
        server.stdin.flush()
        assert server.stdout.readline() == "0 True\n"
