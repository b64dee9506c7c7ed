"""What every engine promises: each accepted window is answered exactly once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from server.engine import Busy, Engine, EngineSettings, Timing
from server.engine.inprocess import InProcessEngine
from server.engine.process import ProcessEngine
from server.metrics import Metrics
from stream.batching import BatchLimits
from stream.models.fake import FakeModel
from stream.types import Answer, Failed, FrameScores, Window
from tests.server.engine.material import Desk, Held, Marked, check_scores, started, stop_child, until, window


@pytest.fixture(scope="module", params=["in process", "in a child"])
def engine(request: pytest.FixtureRequest) -> Iterator[InProcessEngine | ProcessEngine]:
    made: InProcessEngine | ProcessEngine
    if request.param == "in process":
        made = InProcessEngine(FakeModel(), EngineSettings(batching=BatchLimits(8, 0.005)))
    else:
        made = started(batching=BatchLimits(8, 0.005))
    yield made
    made.close()


def test_hundreds_of_windows_from_several_threads_are_answered_once_each_and_right(
    engine: InProcessEngine | ProcessEngine,
) -> None:
    batches: list[int] = []
    engine.on_batch = lambda n_windows, infer_s, background: batches.append(n_windows)
    desk, windows = Desk(), [window(i, 10 + 5 * (i % 3)) for i in range(400)]

    def submit(part: list[Window]) -> None:
        for w in part:
            engine.submit(w, desk.reply)

    threads = [threading.Thread(target=submit, args=(windows[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.wait(400)
    desk.check_once(400)
    check_scores(windows, desk)
    until(lambda: engine.health().waiting == 0)
    assert engine.health().up and engine.health().restarts == 0
    assert sum(batches) == 400, "batches are counted once"
    assert max(batches) <= 8
    assert all(0 <= t.queue_s < 10 and 0 <= t.infer_s < 10 for t in desk.timings)


def test_the_model_introduces_itself(engine: Engine) -> None:
    assert engine.spec is not None and replace(engine.spec, fingerprint="") == FakeModel().spec


def test_a_window_that_the_model_cannot_score_fails_alone(engine: Engine) -> None:
    desk = Desk()
    broken = {3: np.full(1840, np.nan, np.float32), 5: np.zeros(7, np.float32), 6: np.zeros(0, np.float32)}
    windows = [window(i, samples=broken.get(i)) for i in range(10)]
    for w in windows:
        engine.submit(w, desk.reply)
    desk.wait(10)
    desk.check_once(10)
    assert {i for i, a in desk.answers.items() if isinstance(a, Failed)} == set(broken)
    assert desk.codes() == {"scores": 7, "INFERENCE_FAILED": 3}
    check_scores([w for w in windows if w.first_frame not in broken], desk)
    assert engine.health().restarts == 0


@pytest.mark.parametrize("where", ["in process", "in a child"])
def test_a_batch_whose_first_window_fails_is_in_the_histograms_like_any_other(where: str) -> None:
    limits, metrics, desk = BatchLimits(4, 60.0), Metrics(), Desk()  # it runs when it is full
    engine = (
        InProcessEngine(FakeModel(), EngineSettings(batching=limits))
        if where == "in process"
        else started(batching=limits)
    )
    engine.on_batch = lambda n, infer_s, background: metrics.batch(n, infer_s)
    for i in range(4):
        engine.submit(window(i, samples=np.full(1840, np.nan, np.float32) if i == 0 else None), desk.reply)
    desk.wait(4)
    engine.close()
    assert isinstance(desk.answers[0], Failed) and desk.codes() == {"scores": 3, "INFERENCE_FAILED": 1}
    found = metrics.registry.get_sample_value
    assert (found("emotion_batch_windows_count"), found("emotion_batch_windows_sum")) == (1, 4)
    assert found("emotion_inference_seconds_count") == 1
    assert (found("emotion_inference_seconds_sum") or 0) > 0


def test_an_owner_that_fails_to_take_its_answer_stops_nobody_else(engine: Engine) -> None:
    desk = Desk()

    def broken(window: Window, answer: Answer, timing: Timing) -> None:
        raise RuntimeError("this client has gone")

    for i in range(5):
        engine.submit(window(100 + i), broken)
        engine.submit(window(i), desk.reply)
    desk.wait(5)
    desk.check_once(5)
    until(lambda: engine.health().waiting == 0)
    assert engine.health().restarts == 0


def test_an_owner_may_submit_its_next_window_while_it_takes_an_answer(engine: Engine) -> None:
    desk = Desk()

    def chain(answered: Window, answer: Answer, timing: Timing) -> None:
        desk.reply(answered, answer, timing)
        if answered.first_frame < 30:
            engine.submit(window(answered.first_frame + 1), chain)

    engine.submit(window(0), chain)
    desk.wait(31)
    desk.check_once(31)


def test_a_full_engine_is_busy_and_what_it_accepted_is_answered() -> None:
    held = Held()
    settings = EngineSettings(max_queue=5, batching=BatchLimits(2, 0.0))
    inprocess, child = InProcessEngine(held, settings), started(max_queue=5)
    pid = stop_child(child)
    ways: list[tuple[Engine, Callable[[], None]]] = [(inprocess, held.go.set), (child, lambda: proceed(pid))]
    for engine, go in ways:
        desk = Desk()
        for i in range(5):
            engine.submit(window(i), desk.reply)
        for _ in range(3):
            with pytest.raises(Busy):
                engine.submit(window(99), desk.reply)
        assert engine.health().waiting == 5
        go()
        desk.wait(5)
        desk.check_once(5)
        until(lambda engine=engine: engine.health().waiting == 0)  # type: ignore[misc]
        engine.submit(window(5), desk.reply)
        desk.wait(6)
        engine.close()
        desk.check_once(6)


def test_a_window_past_its_deadline_is_answered_so_once_and_its_late_answer_is_ignored() -> None:
    child, desk = started(deadline_s=0.4, heartbeat_timeout_s=60), Desk()
    pid = stop_child(child)
    began = time.monotonic()
    for i in range(20):
        child.submit(window(i), desk.reply)
    desk.wait(20)
    assert 0.4 <= time.monotonic() - began < 30, "before it is taken for hung"
    assert desk.codes() == {"INFERENCE_TIMEOUT": 20}
    assert child.health().waiting == 0
    os.kill(pid, signal.SIGCONT)  # now it scores them all
    later = Desk()
    child.submit(window(0), later.reply)
    later.wait(1)
    check_scores([window(0)], later)
    child.close()
    desk.check_once(20)
    assert child.health().restarts == 0


def test_in_process_a_window_that_waited_past_its_deadline_is_not_scored_any_more() -> None:
    held, desk = Held(), Desk()
    engine = InProcessEngine(held, EngineSettings(deadline_s=0.2, batching=BatchLimits(1, 0.0)))
    engine.submit(window(0), desk.reply)
    assert held.working.wait(5)
    for i in range(1, 5):
        engine.submit(window(i), desk.reply)
    time.sleep(0.25)
    held.go.set()
    desk.wait(5)
    assert desk.codes() == {"scores": 1, "INFERENCE_TIMEOUT": 4}
    engine.submit(window(5), desk.reply)
    desk.wait(6)
    engine.close()
    desk.check_once(6)
    assert desk.codes()["scores"] == 2


def test_files_cannot_fill_the_engine_nor_be_kept_out_of_it() -> None:
    held = Held()
    settings = EngineSettings(max_queue=5, max_background=3, batching=BatchLimits(2, 0.0))
    inprocess, child = InProcessEngine(held, settings), started(max_queue=5, max_background=3)
    pid = stop_child(child)
    ways: list[tuple[Engine, Callable[[], None]]] = [(inprocess, held.go.set), (child, lambda: proceed(pid))]
    for engine, go in ways:
        desk = Desk()
        for i in range(3):
            engine.submit(window(i, background=True), desk.reply)
        with pytest.raises(Busy):
            engine.submit(window(99, background=True), desk.reply)
        for i in range(3, 8):
            engine.submit(window(i), desk.reply)
        for background in (False, True):
            with pytest.raises(Busy):
                engine.submit(window(99, background=background), desk.reply)
        assert engine.health().waiting == 8
        go()
        desk.wait(8)
        desk.check_once(8)
        engine.close()


def test_live_windows_go_first_and_a_files_windows_one_by_one() -> None:
    held, desk = Held(), Desk()
    engine, batches = InProcessEngine(held, EngineSettings(batching=BatchLimits(8, 0.0))), []
    engine.on_batch = lambda n_windows, infer_s, background: batches.append(n_windows)
    engine.submit(window(0), desk.reply)
    assert held.working.wait(5)
    for i in range(1, 7):
        engine.submit(window(i, background=True), desk.reply)
    for i in range(7, 15):
        engine.submit(window(i), desk.reply)
    held.go.set()
    desk.wait(15)
    engine.close()
    desk.check_once(15)
    assert list(desk.answers) == [0, *range(7, 15), *range(1, 7)]
    assert batches == [1, 8, 1, 1, 1, 1, 1, 1]


def test_a_childs_background_windows_share_no_batch() -> None:
    child, desk, batches = started(batching=BatchLimits(8, 0.05)), Desk(), []
    child.on_batch = lambda n_windows, infer_s, background: batches.append(n_windows)
    pid = stop_child(child)
    for i in range(12):
        child.submit(window(i, background=True), desk.reply)
    os.kill(pid, signal.SIGCONT)
    desk.wait(12)
    child.close()
    assert list(desk.answers) == list(range(12)) and batches == [1] * 12


def test_a_file_outwaits_the_deadline_of_live_windows_and_is_told_when_there_is_no_room() -> None:
    child, desk = started(deadline_s=0.2, background_deadline_s=0.8), Desk()
    pid = stop_child(child)
    child.submit(window(0), desk.reply)
    child.submit(window(1, background=True), desk.reply)
    desk.wait(1)
    assert desk.codes() == {"INFERENCE_TIMEOUT": 1}
    time.sleep(0.3)
    assert len(desk.answers) == 1
    desk.wait(2, 3)
    told = desk.answers[1]
    assert isinstance(told, Failed) and told.code == "OVERLOADED" and "no room for files" in told.message
    os.kill(pid, signal.SIGCONT)
    child.close()


def test_as_long_as_files_get_on_none_of_them_is_given_up() -> None:
    """In turn behind others a window waits longer than `background_deadline_s`; something moves all the time."""

    class Slow(FakeModel):
        def score(self, windows: list[Window]) -> list[FrameScores]:
            time.sleep(0.1)
            return super().score(windows)

    engine, desk = InProcessEngine(Slow(), EngineSettings(background_deadline_s=0.25)), Desk()
    for i in range(8):
        engine.submit(window(i, background=True), desk.reply)
    desk.wait(8)
    engine.close()
    assert desk.codes() == {"scores": 8}


def test_in_process_a_model_that_raises_on_one_window_fails_only_this_one() -> None:
    engine, desk = InProcessEngine(Marked(MemoryError("no memory")), EngineSettings()), Desk()
    for i in range(20):
        engine.submit(window(i, marked=i == 7), desk.reply)
    desk.wait(20)
    engine.close()
    desk.check_once(20)
    assert desk.codes() == {"scores": 19, "INFERENCE_FAILED": 1}
    failed = desk.answers[7]
    assert isinstance(failed, Failed) and failed.message == "MemoryError: no memory"


def test_closing_in_process_scores_what_is_held() -> None:
    held, desk = Held(), Desk()
    engine = InProcessEngine(held, EngineSettings(batching=BatchLimits(4, 60.0)))
    for i in range(10):
        engine.submit(window(i, 10 + i % 2), desk.reply)
    threading.Timer(0.1, held.go.set).start()
    engine.close()
    desk.check_once(10)
    assert desk.codes() == {"scores": 10}
    check_closed(engine)


def test_closing_answers_what_a_child_holds_even_when_it_hangs() -> None:
    child, desk = started(heartbeat_timeout_s=60, deadline_s=60), Desk()
    stop_child(child)
    for i in range(10):
        child.submit(window(i), desk.reply)
    began = time.monotonic()
    child.close()
    assert time.monotonic() - began < 30, "it has waited for neither"
    desk.check_once(10)
    assert desk.codes() == {"NOT_READY": 10}
    check_closed(child)


def test_an_engine_that_was_never_started_answers_when_it_is_closed() -> None:
    engine, desk = ProcessEngine(EngineSettings(model="fake")), Desk()
    engine.submit(window(0), desk.reply)
    engine.close()
    assert desk.codes() == {"NOT_READY": 1}
    check_closed(engine)


def proceed(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def check_closed(engine: Engine) -> None:
    late = Desk()
    engine.submit(window(0), late.reply)
    assert late.codes() == {"NOT_READY": 1}, "what comes later is answered at once"
    assert not engine.health().up and engine.health().waiting == 0
    engine.close()
    late.check_once(1)
