"""Who else on the machine may read results and records: real files, a second user, and the settings of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from server.config import ConfigError, load
from tests.server.clients import Client, eventually
from tests.server.conftest import running

NOBODY = 65534
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else, by setpriv"
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="emotion-modes-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def can_read(path: Path, group: int) -> bool:
    """Whether nobody can, as a member of that group alone."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={group}", "--clear-groups", "head", "-c1", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@needs_root
@pytest.mark.parametrize(
    ("mode", "group", "others"), [(None, True, False), ("0700", False, False), ("0755", True, True)]
)
def test_another_user_reads_what_the_mode_allows(
    shared: Path,
    mode: str | None,
    group: bool,
    others: bool,
    connect: Callable[..., Client],
    demo_pcm: bytes,
    demo_wav: Path,
) -> None:
    chosen = {} if mode is None else {"files__mode": mode}
    outputs = shared / "outputs"
    with running(
        model__name="fake", files__outputs=outputs, recording__sessions=True, recording__audio=True, **chosen
    ) as server:
        with demo_wav.open("rb") as f:
            found = requests.post(
                f"{server.url}/api/v1/emotion/recognize",
                files={"audio_file": f},
                data={"extract_embedding": "true"},
                timeout=60,
            ).json()
        speaker = connect(server)
        speaker.start()
        speaker.speak(demo_pcm[:64_000])
        speaker.stop()
        record = eventually(lambda: next(iter(outputs.glob("session_*")), None), "the record")
        files = [Path(found["embedding_path"]), *Path(found["result_dir"]).iterdir(), *record.iterdir()]
        assert {path.name for path in files} >= {"embedding.npy", "result.json", "session.json", "audio.wav"}
        ours = os.getegid()
        for path in files:
            assert can_read(path, ours) is group, path
            assert can_read(path, NOBODY) is others, path
            assert path.stat().st_mode & 0o002 == 0 == path.parent.stat().st_mode & 0o002


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("0750", "in quotes"),  # YAML: a number
        ('"0777"', "everybody write"),
        ('"0752"', "everybody write"),
        ('"0550"', "begin with 7"),
        ('"rwx"', "octal digits"),
        ('"1777"', "octal digits"),
    ],
)
def test_a_mode_that_makes_no_sense_is_refused(tmp_path: Path, written: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(f"files:\n  mode: {written}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as refused:
        load(tmp_path / "config.yaml")
    assert "line 2" in str(refused.value)


def test_a_mode_is_read_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text('files:\n  mode: "755"\n', encoding="utf-8")
    assert load(tmp_path / "config.yaml").files.mode_bits == 0o755
    monkeypatch.setenv("EMOTION_FILES__MODE", "0700")
    assert load(tmp_path / "config.yaml").files.mode_bits == 0o700
