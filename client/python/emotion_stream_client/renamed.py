"""Names of earlier versions, which work until `REMOVED_IN`: each use warns, at its caller, with the new name."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

REMOVED_IN = "0.3.0"
PACKAGE = __name__.split(".")[0]
P = ParamSpec("P")
T = TypeVar("T")


def warn_renamed(old: str, new: str) -> None:
    """The warning points at the nearest caller outside this package: whoever can change that is shown it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == PACKAGE:
        level, frame = level + 1, frame.f_back
    message = f"{old} is now {new}; the old name will be removed in {REMOVED_IN}"
    warnings.warn(message, DeprecationWarning, stacklevel=level)


def renamed_arguments(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """The decorated function takes each keyword argument by its old name as well (`old="new"`).

    Raises TypeError when both are given. Coroutine functions warn when they are called, not when they run.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **given: P.kwargs) -> T:
            for old, new in names.items():
                if old in given:
                    warn_renamed(f"{function.__name__}({old}=)", f"{new}=")
                    if new in given:
                        raise TypeError(f"{old} and {new} are the same argument")
                    given[new] = given.pop(old)
            return function(*args, **given)

        return call

    return decorate
