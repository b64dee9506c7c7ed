"""Servers with two workers, and what can be asked of the processes."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import ROOMY, Server
from tests.server.conftest import children_of, no_traceback, running


def workers_of(server: Server) -> list[psutil.Process]:
    """The socket processes of a server, in the order in which they were started."""
    return sorted(children_of(server, "server.run"), key=lambda process: process.pid)


@pytest.fixture(scope="module")
def _two() -> Iterator[Server]:
    with running(model__name="fake", server__workers=2, **ROOMY) as server:
        yield server


@pytest.fixture
def two(_two: Server) -> Iterator[Server]:
    """A server with two workers, whose model can be computed by hand."""
    before = len(_two.log())
    yield _two
    no_traceback(_two.log()[before:])
