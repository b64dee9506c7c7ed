"""NumPy on one thread: on matrices this small others only wait for each other, tenfold on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def one_thread() -> Iterator[None]:
    """NumPy and scikit-learn use one thread meanwhile, where the latter is there: it brings what this takes."""
    if find_spec("sklearn") is None:
        yield
        return
    import sklearn.cluster
    import sklearn.linear_model  # noqa: F401 - only what has been loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
