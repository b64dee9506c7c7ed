"""One answer per window, whatever the model does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from server.engine.scoring import BACKGROUND_ON_GPU, BatchQueue, limits_for, score, score_timed
from stream.batching import BatchLimits
from stream.models.fake import FakeModel
from stream.types import Failed, FrameScores, Window
from tests.server.engine.material import Marked, window


def spoil(field: str, value: float) -> Callable[[FrameScores], FrameScores]:
    def fault(answer: FrameScores) -> FrameScores:
        spoilt = getattr(answer, field).copy()
        spoilt.flat[-1] = value
        return replace(answer, **{field: spoilt})

    return fault


FAULTS: dict[str, Callable[[FrameScores], FrameScores] | Exception] = {
    "raises": RuntimeError("CUDA error"),
    "nan logits": spoil("logits", np.nan),
    "inf logits": spoil("logits", np.inf),
    "nan weights": spoil("weights", np.nan),
    "nan state": spoil("state", np.nan),
    "a frame too few": lambda a: replace(a, logits=a.logits[:-1], weights=a.weights[:-1]),
    "a frame too many": lambda a: replace(a, logits=np.vstack([a.logits, a.logits[:1]])),
    "a label too few": lambda a: replace(a, logits=a.logits[:, :8]),
    "weights of another length": lambda a: replace(a, weights=a.weights[:1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_window_that_breaks_the_model_fails_alone(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    windows = [window(i, marked=i in (0, 3)) for i in range(6)]
    answers = score(Marked(FAULTS[fault]), windows)
    assert len(answers) == 6
    for w, answer in zip(windows, answers, strict=True):
        if w.first_frame in (0, 3):
            assert isinstance(answer, Failed) and answer.code == "INFERENCE_FAILED" and answer.message
        else:
            assert isinstance(answer, FrameScores)
            assert np.array_equal(answer.logits, FakeModel().score([w])[0].logits)


@pytest.mark.parametrize("short", [0, 1, 5, 7])
def test_a_model_that_miscounts_its_answers_gives_none(short: int, caplog: pytest.LogCaptureFixture) -> None:
    class Miscounting(FakeModel):
        def score(self, windows: list[Window]) -> list[FrameScores]:
            return super().score(windows * 7)[:short]

    answers = score(Miscounting(), [window(i) for i in range(6)])
    assert len(answers) == 6
    if short == 1:  # one by one it counts right
        assert all(isinstance(a, FrameScores) for a in answers)
    else:
        assert all(isinstance(a, Failed) and a.code == "INFERENCE_FAILED" for a in answers)


def test_every_window_of_a_batch_has_waited_for_its_own_time() -> None:
    timed = score_timed(FakeModel(), [window(i) for i in range(3)], [-3.0, -2.0, -1.0])
    timings = [timing for _, timing in timed]
    assert len({t.infer_s for t in timings}) == 1
    assert timings[0].queue_s - timings[2].queue_s == pytest.approx(2)


def test_who_waits_is_taken_out_with_the_right_ticket() -> None:
    queue: BatchQueue[str] = BatchQueue(BatchLimits(max_batch=2, max_wait_s=1))
    for i, n in enumerate([10, 20, 10, 10, 20]):
        queue.add(window(i, n), f"ticket {i}", i / 10)
    taken = []
    while len(queue):
        batch, wait_s = queue.take(100.0)
        assert wait_s is None and len({q.window.n_frames for q in batch}) == 1
        taken.append([(q.window.first_frame, q.ticket, q.arrival_s) for q in batch])
    assert taken == [
        [(0, "ticket 0", 0.0), (2, "ticket 2", 0.2)],
        [(1, "ticket 1", 0.1), (4, "ticket 4", 0.4)],
        [(3, "ticket 3", 0.3)],
    ]
    assert queue.take(100.0) == ([], None)


def test_live_windows_alone_can_be_asked_for() -> None:
    queue: BatchQueue[int] = BatchQueue(BatchLimits(max_batch=8, max_wait_s=0))
    for i in range(4):
        queue.add(window(i, background=i < 2), i, 0.0)
    assert [q.ticket for q in queue.take(1.0, only_live=True)[0]] == [2, 3]
    assert queue.take(1.0, only_live=True) == ([], None)
    assert [[q.ticket for q in queue.take(1.0)[0]] for _ in range(3)] == [[0], [1], []]


def test_batches_suit_the_model_and_the_device() -> None:
    spec, wanted = FakeModel().spec, BatchLimits(max_batch=32, max_wait_s=0.01)
    assert limits_for(spec, wanted) == wanted
    assert limits_for(replace(spec, best_batch=4), wanted) == BatchLimits(4, 0.01)
    on_gpu = limits_for(replace(spec, device="cuda:1", best_batch=256), wanted)
    assert (on_gpu.max_batch, on_gpu.max_background) == (32, BACKGROUND_ON_GPU)
    assert limits_for(replace(spec, device="cuda", best_batch=2), wanted).max_background == 2
