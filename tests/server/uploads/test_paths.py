"""Where results lie on the disk, as clients are told, and who may read them there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import requests

from tests.conftest import Server
from tests.server.conftest import running

HERE = "/api/v1/emotion/recognize"


def sent(server: Server, wav: Path, **headers: str) -> dict[str, str]:
    with wav.open("rb") as file:
        answer = requests.post(server.url + HERE, files={"audio_file": file}, headers=headers, timeout=60)
    answer.raise_for_status()
    found: dict[str, str] = answer.json()
    return found


def test_what_was_passed_on_is_not_of_this_machine(demo_wav: Path, tmp_path: Path) -> None:
    """A proxy on this machine has clients elsewhere: they are told no path of its disk."""
    with running(model__name="fake", files__outputs=tmp_path / "results") as server:
        assert sent(server, demo_wav)["result_dir"].startswith(str(tmp_path))
        for name, value in (
            ("X-Forwarded-For", "203.0.113.7"),
            ("Forwarded", "for=203.0.113.7"),
            ("Via", "1.1 proxy"),
        ):
            assert sent(server, demo_wav, **{name: value})["result_dir"].startswith("results/outputs_"), name


@pytest.mark.slow
def test_the_operator_may_keep_its_paths_and_say_who_reads(demo_wav: Path, tmp_path: Path) -> None:
    settings = {"files__absolute_paths": "false", "files__folder_mode": "755"}
    with running(model__name="fake", files__outputs=tmp_path / "results", **settings) as server:
        told = sent(server, demo_wav)
    assert told["result_dir"].startswith("results/outputs_")
    folder = tmp_path / told["result_dir"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv (Debian: util-linux)")
def test_the_group_may_read_and_strangers_may_not(demo_wav: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are its user's alone, and stay so
        Path(folder).chmod(0o755)
        with running(model__name="fake", files__outputs=Path(folder) / "results") as server:
            file = Path(sent(server, demo_wav)["result_dir"]) / "result.json"

        def read_by(group: str) -> int:
            command = ["setpriv", "--reuid", "65534", "--regid", group, "--clear-groups", "cat", str(file)]
            return subprocess.run(command, capture_output=True, check=False).returncode

        assert read_by(str(os.getgid())) == 0
        assert read_by("65534") != 0
