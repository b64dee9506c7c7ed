"""Replicas on a real Ray cluster: they score as a model here does, and one that dies or hangs costs nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from server.engine import EngineSettings
from server.engine.process import ProcessEngine
from server.language import in_language
from server.metrics import Metrics
from stream.batching import BatchLimits
from stream.models.registry import load_model
from stream.types import EmotionModel, FrameScores, Window
from tests.conftest import ROOT, free_port
from tests.ray_cluster import RayCluster, ray_cluster
from tests.server.engine.material import Desk, check_scores, until, window
from tests.stream.voices import voice

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as started:
        yield started


def on(cluster: RayCluster, **settings: object) -> ProcessEngine:
    """An engine with two replicas there that are up."""
    fields = {"model": "fake", "kind": "ray", "replicas": 2, "ray_address": cluster.address, **settings}
    engine = ProcessEngine(EngineSettings(**fields), "CRITICAL")  # type: ignore[arg-type]
    engine.start()
    all_up(engine)
    return engine


def all_up(engine: ProcessEngine) -> None:
    until(lambda: all(replica.up for replica in engine.health().replicas) or engine.health().fatal)
    assert not engine.health().fatal, engine.health().error


@pytest.mark.slow
def test_hundreds_of_windows_are_answered_once_each_and_right_and_the_figures_add_up(
    cluster: RayCluster,
) -> None:
    metrics, desk = Metrics(), Desk()
    engine = on(cluster, batching=BatchLimits(8, 0.005))
    metrics.watch_engine(engine.health, lambda: engine.spec)
    engine.on_batch = lambda n, infer_s, background: metrics.batch(n, infer_s)
    windows = [window(i, 10 + 5 * (i % 3), background=i % 7 == 0) for i in range(400)]
    for w in windows:
        until(lambda: engine.health().waiting < 100)
        engine.submit(w, desk.reply)
    desk.wait(400)
    found = metrics.registry.get_sample_value
    for name, whole in (
        ("windows_total", "batch_windows_sum"),
        ("batches_total", "batch_windows_count"),
        ("busy_seconds_total", "inference_seconds_sum"),
    ):
        each = [found(f"emotion_replica_{name}", {"replica": str(i)}) or 0 for i in range(2)]
        assert all(each) and sum(each) == pytest.approx(found(f"emotion_{whole}"))
    assert all(0 <= timing.queue_s < 30 for timing in desk.timings)
    engine.close()
    until(lambda: not cluster.actors())
    desk.check_once(400)
    check_scores(windows, desk)


@pytest.mark.slow
def test_scores_are_those_of_the_model_here(cluster: RayCluster) -> None:
    """Several voices at once, each window with the state that came with the one before."""
    engine = on(cluster, model="compact", device="cpu", model_options={"runtime": "onnx"})
    model: EmotionModel = load_model("compact", "cpu", {"runtime": "onnx"}, 1)
    assert engine.spec is not None and engine.spec.fingerprint == model.spec.fingerprint
    sounds = [voice(seed) for seed in range(6)]
    states: dict[int, np.ndarray | None] = dict.fromkeys(range(6))
    for step in range(10):
        desk = Desk()
        windows = [
            Window("s", seed, 10, step == 0, sound[1600 * step :][:1840], states[seed])
            for seed, sound in enumerate(sounds)
        ]
        for w in windows:
            engine.submit(w, desk.reply)
        desk.wait(6)
        for w in windows:
            there, (here,) = desk.answers[w.first_frame], model.score([w])
            assert isinstance(there, FrameScores)
            np.testing.assert_allclose(there.logits, here.logits, rtol=0, atol=1e-5)
            states[w.first_frame] = there.state
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP])
def test_what_a_replica_had_that_dies_or_hangs_is_scored_and_nothing_twice(
    ending: signal.Signals, cluster: RayCluster
) -> None:
    engine, desk = on(cluster, heartbeat_timeout_s=4, batching=BatchLimits(4, 0.005)), Desk()
    actors = cluster.actors()
    assert len(actors) == 2
    actors[0].suspend()
    windows = [window(i) for i in range(40)]
    for w in windows:
        engine.submit(w, desk.reply)

    def all_but_its_own_are_scored() -> bool:
        its_own = sum(replica.outstanding for replica in engine.health().replicas)
        return its_own in (4, 8) and len(desk.answers) == 40 - its_own  # one call to it, or two

    until(all_but_its_own_are_scored)
    if ending == signal.SIGKILL:
        actors[0].kill()
    desk.wait(40)
    until(lambda: engine.health().restarts == 1)
    all_up(engine)
    assert actors[1].is_running() and len(cluster.actors()) == 2
    engine.close()
    desk.check_once(40)
    check_scores(windows, desk)


@pytest.mark.slow
def test_replicas_find_the_program_wherever_it_was_started(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is installed among libraries, and started in any folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.environ['PYTHONPATH']}{os.pathsep}{ROOT}")
    engine, desk = on(cluster), Desk()
    engine.submit(window(0), desk.reply)
    desk.wait(1)
    engine.close()
    check_scores([window(0)], desk)


@pytest.mark.slow
def test_all_replicas_die_at_once(cluster: RayCluster) -> None:
    engine, desk = on(cluster), Desk()
    for actor in cluster.actors():
        actor.suspend()
    for i in range(10):
        engine.submit(window(i), desk.reply)
    until(lambda: sum(replica.outstanding for replica in engine.health().replicas) == 10)
    for actor in cluster.actors():
        actor.kill()
    until(lambda: engine.health().restarts == 2)
    desk.wait(10)
    engine.close()
    desk.check_once(10)
    check_scores([window(i) for i in range(10)], desk)


@pytest.mark.slow
def test_a_replica_that_dies_while_it_has_nothing_to_do_is_made_anew(cluster: RayCluster) -> None:
    engine, desk = on(cluster), Desk()
    for n, actor in enumerate(cluster.actors(), 1):
        actor.kill()
        until(lambda n=n: engine.health().restarts == n)  # type: ignore[misc]
        all_up(engine)
    engine.submit(window(0), desk.reply)
    desk.wait(1)
    engine.close()
    check_scores([window(0)], desk)


@pytest.mark.slow
def test_the_process_that_speaks_for_them_dies(cluster: RayCluster) -> None:
    engine, desk = on(cluster), Desk()
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    for i in range(10):
        engine.submit(window(i), desk.reply)
    desk.wait(10)
    until(lambda: len(cluster.actors()) == 2)
    engine.close()
    desk.check_once(10)
    check_scores([window(i) for i in range(10)], desk)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_there_is_named(cluster: RayCluster) -> None:
    settings = EngineSettings(model="emotion3vec", kind="ray", ray_address=cluster.address)
    told = fatal(settings)
    assert "is called 'emotion3vec'; models: compact" in told


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told_with_what_to_do(cluster: RayCluster) -> None:
    settings = EngineSettings(model="fake", kind="ray", ray_address=f"127.0.0.1:{free_port()}")
    for nowhere in (settings, replace(settings, ray_address="no.such.host.invalid:6379")):
        told = fatal(nowhere)
        assert nowhere.ray_address in told and "`ray start --head` starts one" in told
        assert "无法连接" in in_language(told, "zh")


def fatal(settings: EngineSettings) -> str:
    """What an engine says that can never score."""
    engine = ProcessEngine(settings, "CRITICAL")
    engine.start()
    until(lambda: engine.health().fatal)
    told = engine.health().error
    engine.close()
    return told or ""
