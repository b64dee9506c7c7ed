"""NumPy on one thread: on matrices this small others only wait for each other, tenfold on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """NumPy and scikit-learn use one thread meanwhile, where the latter is there: it brings what this takes."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1):
        yield
