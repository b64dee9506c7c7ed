"""Several model processes behind one engine: they share the work, and when one dies another has its windows."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from server.engine import EngineSettings
from server.engine.devices import gpus, of_replica
from server.engine.process import ProcessEngine
from server.metrics import Metrics
from stream.batching import BatchLimits
from stream.types import Failed
from tests.server.engine.material import Desk, check_scores, poison, started, until, window


def all_up(n: int = 2, **settings: object) -> ProcessEngine:
    engine = started(replicas=n, **settings)
    until(lambda: all(replica.up for replica in engine.health().replicas))
    return engine


def pid_of(engine: ProcessEngine, number: int) -> int:
    child = engine.replicas[number].child
    assert child is not None
    return child.pid


def test_hundreds_of_windows_are_answered_once_each_and_right_and_the_figures_add_up() -> None:
    metrics = Metrics()
    engine, desk = all_up(3, batching=BatchLimits(8, 0.005)), Desk()
    metrics.watch_engine(engine.health, lambda: engine.spec)
    engine.on_batch = lambda n, infer_s, background: metrics.batch(n, infer_s)
    windows = [window(i, 10 + 5 * (i % 3), background=i % 7 == 0) for i in range(400)]
    for w in windows:
        while engine.health().waiting > 50:
            pass
        engine.submit(w, desk.reply)
    desk.wait(400)
    found = metrics.registry.get_sample_value

    def added_up(name: str) -> float:
        each = [found(f"emotion_replica_{name}", {"replica": str(i)}) for i in range(3)]
        assert all(each), f"{name}: all three had work: {each}"
        return sum(filter(None, each))

    assert added_up("windows_total") == found("emotion_batch_windows_sum") == 400
    assert added_up("batches_total") == found("emotion_batch_windows_count")
    assert added_up("busy_seconds_total") == pytest.approx(found("emotion_inference_seconds_sum"))
    assert [replica.outstanding for replica in engine.health().replicas] == [0, 0, 0]
    engine.close()
    desk.check_once(400)
    check_scores(windows, desk)


def test_few_windows_share_a_batch_as_they_do_with_one_replica() -> None:
    engine, desk, batches = all_up(3, batching=BatchLimits(32, 0.2)), Desk(), []
    engine.on_batch = lambda n_windows, infer_s, background: batches.append(n_windows)
    for i in range(12):
        engine.submit(window(i), desk.reply)
    desk.wait(12)
    engine.close()
    assert batches == [12]


def test_what_a_dead_replica_held_is_scored_by_another_and_not_by_its_successor() -> None:
    engine, desk = all_up(batching=BatchLimits(4, 0.005)), Desk()
    first, second = pid_of(engine, 0), pid_of(engine, 1)
    for pid in (first, second):
        os.kill(pid, signal.SIGSTOP)
    windows = [window(i) for i in range(40)]
    for w in windows:
        engine.submit(w, desk.reply)
    held = [replica.outstanding for replica in engine.health().replicas]
    assert held == [20, 20]
    os.kill(first, signal.SIGKILL)
    os.kill(second, signal.SIGCONT)
    until(lambda: engine.health().replicas[0].restarts == 1)
    desk.wait(40)
    assert pid_of(engine, 1) == second and engine.health().restarts == 1
    assert engine.health().replicas[1].windows == 40 and engine.health().replicas[0].windows == 0
    until(lambda: engine.health().replicas[0].up)
    assert pid_of(engine, 0) != first
    engine.close()
    desk.check_once(40)
    check_scores(windows, desk)


def test_the_engine_is_up_while_one_of_them_is() -> None:
    engine, desk = all_up(), Desk()
    os.kill(pid_of(engine, 0), signal.SIGKILL)

    def restarted() -> bool:
        assert engine.health().up and engine.health().error is None
        return engine.health().restarts == 1

    until(restarted)
    engine.submit(window(0), desk.reply)
    desk.wait(1)
    until(lambda: engine.health().replicas[0].up)
    engine.close()
    check_scores([window(0)], desk)


def test_a_window_that_kills_two_of_them_fails_alone() -> None:
    engine, desk = all_up(3), Desk()
    for i in range(60):
        engine.submit(poison(i) if i == 9 else window(i), desk.reply)
    desk.wait(60)
    until(lambda: engine.health().restarts == 2)
    engine.close()
    desk.check_once(60)
    guilty = desk.answers[9]
    assert isinstance(guilty, Failed) and guilty.code == "INFERENCE_FAILED" and "twice" in guilty.message
    check_scores([window(i) for i in range(60) if i != 9], desk)


def test_all_of_them_die_at_once() -> None:
    engine, desk = all_up(batching=BatchLimits(4, 0.005)), Desk()
    pids = [pid_of(engine, number) for number in range(2)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for i in range(20):
        engine.submit(window(i), desk.reply)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    desk.wait(20)
    engine.close()
    desk.check_once(20)
    check_scores([window(i) for i in range(20)], desk)


def test_each_has_a_spare_of_its_own() -> None:
    engine, desk = all_up(spare=True), Desk()
    until(lambda: all(replica.spare.ready for replica in engine.replicas))
    os.kill(pid_of(engine, 1), signal.SIGKILL)
    until(lambda: engine.health().restarts == 1 and engine.health().replicas[1].up)
    engine.submit(window(0), desk.reply)
    desk.wait(1)
    engine.close()
    check_scores([window(0)], desk)


def test_settings_that_cannot_work_end_all_of_them() -> None:
    engine, desk = ProcessEngine(EngineSettings(model="emotion3vec", replicas=2), "CRITICAL"), Desk()
    engine.start()
    engine.submit(window(0), desk.reply)
    until(lambda: engine.health().fatal)
    desk.wait(1)
    assert desk.codes() == {"NOT_READY": 1} and not engine.health().up
    engine.close()


@pytest.mark.parametrize(
    ("threads", "n", "shares"), [(1, 1, [1]), (8, 1, [8]), (8, 2, [4, 4]), (8, 3, [3, 3, 2]), (1, 4, [1] * 4)]
)
def test_threads_are_those_of_all_of_them_together(threads: int, n: int, shares: list[int]) -> None:
    settings = EngineSettings(threads=threads, replicas=n)
    assert [of_replica(settings, i, ()).threads for i in range(n)] == shares


@pytest.mark.parametrize(
    ("device", "here", "n", "own"),
    [
        ("auto", (), 2, [None, None]),
        ("auto", ("0", "1"), 1, [None]),  # it finds one by itself, as ever
        ("auto", ("0", "1"), 2, ["0", "1"]),
        ("cuda", ("2", "GPU-7"), 3, ["2", "GPU-7", "2"]),
        ("cuda:1", ("0", "1"), 2, [None, None]),  # all of them on that one
        ("cpu", ("0", "1"), 2, [None, None]),
    ],
)
def test_gpus_are_given_out_in_turn(
    device: str, here: tuple[str, ...], n: int, own: list[str | None]
) -> None:
    settings = EngineSettings(device=device, replicas=n)
    assert [of_replica(settings, i, here).gpu for i in range(n)] == own


def test_each_process_sees_its_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert gpus() == ("3", "5")
    engine = all_up(threads=4)
    told = []
    for number in range(2):
        raw = Path(f"/proc/{pid_of(engine, number)}/environ").read_bytes().split(b"\0")
        told.append({line.partition(b"=")[0]: line.partition(b"=")[2] for line in raw})
    engine.close()
    assert [one[b"CUDA_VISIBLE_DEVICES"] for one in told] == [b"3", b"5"]
    assert [one[b"OMP_NUM_THREADS"] for one in told] == [b"2", b"2"]


@pytest.mark.parametrize("named", ["", "-1"])
def test_where_the_operator_hides_all_gpus_there_are_none(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus() == ()
