"""What users of voice agents say, and servers that are well, slow or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, free_port
from tests.server.conftest import held, running


@pytest.fixture(scope="session")
def turn(demo_pcm: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.3 s of speech, PCM16 at 16 kHz."""
    path = tmp_path_factory.mktemp("turn") / "turn.pcm"
    path.write_bytes(demo_pcm[16_000 : 16_000 + 41_600])
    return path


@pytest.fixture
def nowhere() -> str:
    """Where no server is."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def slow_server() -> Iterator[Server]:
    """Its model never answers, which nobody finds out for a minute."""
    with running(engine__heartbeat_timeout_s=600) as server, held(server):
        yield server
