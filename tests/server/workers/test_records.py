"""Records where there are several workers: of whoever was killed finished by a successor, of others left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOMY
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running
from tests.server.workers.test_resuming import elsewhere, holder

Connect = Callable[..., Client]


def told(root: Path, session_id: str) -> bool | None:
    """Whether a session's record is complete; None while there is none."""
    folder = next(root.glob(f"session_*_{session_id}"), None)
    return None if folder is None else bool(json.loads((folder / "session.json").read_text())["complete"])


def test_the_record_of_a_killed_worker_is_finished_and_no_other_is_touched(
    connect: Connect, demo_pcm: bytes, tmp_path: Path
) -> None:
    kept = {"recording__sessions": True, "files__outputs": tmp_path}
    with running(model__name="fake", server__workers=2, **kept, **ROOMY) as server:
        victim = connect(server)
        process = holder(server, victim)
        other = elsewhere(server, connect, process)
        ids = []
        for client in (victim, other):
            ids.append(client.start()["session_id"])
            client.speak(demo_pcm[:192_000])
            client.wait_for("utterance_result")
        eventually(lambda: len(list(tmp_path.glob(".*"))) >= 2, "both are being written")
        process.kill()
        eventually(lambda: told(tmp_path, ids[0]) is not None, "it is finished")
        assert told(tmp_path, ids[0]) is False and told(tmp_path, ids[1]) is None
        other.speak(demo_pcm[192_000:256_000])
        other.stop()
        eventually(lambda: told(tmp_path, ids[1]), "the other is, too")
        no_traceback(server.log())
