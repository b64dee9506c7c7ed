"""Out of memory: half the batch, then the CPU; every window is scored all the same."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from stream.models.emotion2vec.memory import GROW_AFTER, OomBackoff, out_of_memory  # noqa: E402
from stream.types import Floats  # noqa: E402


class Device:
    """Has room for `room` rows at a time."""

    def __init__(self, room: int) -> None:
        self.room, self.sizes, self.freed = room, list[int](), 0

    def run(self, batch: Floats, job: None) -> tuple[Floats, ...]:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(batch))
        return 2 * batch, batch[:, 0]

    def free(self) -> None:
        self.freed += 1


BATCH = np.arange(14, dtype=np.float32).reshape(7, 2)


def check(found: tuple[Floats, ...]) -> None:
    for array, wanted in zip(found, (2 * BATCH, BATCH[:, 0]), strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_half_and_half_again(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(room=2)
    backoff = OomBackoff(device.run, free=device.free)
    check(backoff(BATCH))
    assert device.sizes == [1] * 7  # 7 → 3 → 1
    assert (backoff.counts["halved"], backoff.counts["cpu"], device.freed) == (2, 0, 2)
    assert "batches of 3" in caplog.text
    check(backoff(BATCH))
    assert backoff.counts["halved"] == 2  # what did not fit is not tried again at once


def test_then_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    device = Device(room=0)
    backoff = OomBackoff(device.run, fallback=lambda batch, job: (2 * batch, batch[:, 0]))
    check(backoff(BATCH))
    assert backoff.counts["cpu"] == 7
    assert "scored on the CPU" in caplog.text


def test_without_a_stand_in_the_error_is_told() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        OomBackoff(Device(room=0).run)(BATCH)


def test_other_errors_are_not_memory() -> None:
    def broken(batch: Floats, job: None) -> tuple[Floats, ...]:
        raise RuntimeError("shapes differ")

    backoff = OomBackoff(broken, fallback=lambda batch, job: (batch,))
    with pytest.raises(RuntimeError, match="shapes"):
        backoff(BATCH)
    assert not backoff.counts


def test_it_dares_more_after_a_while() -> None:
    device = Device(room=3)
    backoff = OomBackoff(device.run)
    backoff(BATCH)
    device.room = 100
    for _ in range(2 * GROW_AFTER):
        backoff(BATCH)
    assert device.sizes[-1] == 7


def test_what_counts_as_memory() -> None:
    assert out_of_memory(MemoryError())
    assert out_of_memory(
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
    )
    assert not out_of_memory(RuntimeError("anything"))
