"""`emotion-stream mcp`, asked by the protocol's own client over stdin and stdout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.types import LABELS
from tests.conftest import ROOT
from tests.frameworks import install, listed
from tests.server.clients import Client
from tests.server.conftest import ROOMY, running

CLIENT = Path(__file__).with_name("mcp_client.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test installs the package


def ask(arguments: list[str], calls: list[tuple[str, dict[str, Any]]], **environ: str) -> Any:
    python = install("mcp", listed("requirements-mcp.txt", "requirements-light.txt"))
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "client" / "python")))
    done = subprocess.run(
        [python, str(CLIENT), json.dumps(arguments), json.dumps(calls)],
        env={**os.environ, "PYTHONPATH": paths, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def answers(arguments: list[str], *calls: tuple[str, dict[str, Any]], **environ: str) -> list[Any]:
    """What was told: JSON, or of a refusal its words."""
    told = ask(arguments, list(calls), **environ)["answers"]
    return [answer["text"] if answer["error"] else json.loads(answer["text"]) for answer in told]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_wav: Path) -> Path:
    """A recording, one in a folder of its own, and ways out that lead to a third."""
    root = tmp_path_factory.mktemp("mcp")
    secret = root / "secret.wav"
    inside = root / "recordings"
    (inside / "calls").mkdir(parents=True)
    for path in (secret, inside / "demo.wav", inside / "calls" / "one.wav", inside / ".hidden.wav"):
        shutil.copy(demo_wav, path)
    (inside / "link.wav").symlink_to(secret)
    (inside / "way").symlink_to(root)
    return inside


def test_an_assistant_asks_about_recordings_and_conversations(
    folder: Path, demo_pcm: bytes, tmp_path: Path
) -> None:
    kept = {"recording__sessions": "true", "files__outputs": tmp_path}
    with running(monitor__token="desk-token", **kept, **ROOMY) as server:
        client = Client(server.url)
        session_id = client.start(name="Ms Li")["session_id"]
        client.speak(demo_pcm[: 6 * 32_000], session_id=session_id)
        client.call("flush", {"session_id": session_id})
        told = answers(
            ["--url", server.url, "--folder", str(folder)],
            ("list_files", {}),
            ("analyze_file", {"file": "calls/one.wav"}),
            ("list_sessions", {}),
            ("how_it_sounded", {"session": session_id, "begin_s": 0, "end_s": 5.5}),
            ("how_it_sounded", {"session": "nobody", "begin_s": 0, "end_s": 1}),
            EMOTION_MONITOR__TOKEN="desk-token",
        )
        client.close()
    files, analyzed, sessions, span, nobody = told
    assert files == {"files": ["calls/one.wav", "demo.wav"]}
    assert analyzed["emotion"] in LABELS and len(analyzed["utterances"]) > 1
    assert [(s["session_id"], s["name"]) for s in sessions["live"]] == [(session_id, "Ms Li")]
    assert sessions["recorded"] == [] and "spark" not in json.dumps(sessions)
    assert span["complete"] and span["frames"] > 100 and span["emotion"] in LABELS
    assert "NOT_FOUND" in nobody


@pytest.mark.parametrize(
    "name",
    [
        "../secret.wav",
        "link.wav",
        "way/secret.wav",
        "/etc/passwd",
        ".hidden.wav",
        "calls",
        "",
        "a\0b",
        "none.wav",
    ],
)
def test_no_path_leads_out_of_the_folder(folder: Path, name: str) -> None:
    absolute = str(folder.parent / "secret.wav") if name == "/etc/passwd" else name
    refused = answers(
        ["--url", "http://127.0.0.1:9", "--folder", str(folder)], ("analyze_file", {"file": absolute})
    )
    assert "no such recording in the folder" in refused[0]


def test_without_a_folder_a_server_or_the_desks_token_it_says_so(folder: Path) -> None:
    (refused,) = answers([], ("analyze_file", {"file": "demo.wav"}))
    assert "--folder" in refused
    (away,) = answers(
        ["--url", "http://127.0.0.1:9", "--folder", str(folder)], ("analyze_file", {"file": "demo.wav"})
    )
    assert "DISCONNECTED" in away
    with running(model__name="fake", monitor__token="desk-token") as server:
        sessions, span, odd = answers(
            ["--url", server.url],
            ("list_sessions", {}),
            ("how_it_sounded", {"session": "x", "begin_s": 0, "end_s": 1}),
            ("how_it_sounded", {"session": "../status", "begin_s": 0, "end_s": 1}),
        )
    assert "cannot be asked" in sessions and "UNAUTHORIZED" in span and "is named by letters" in odd


def test_the_tools_are_described(folder: Path) -> None:
    told = ask(["--folder", str(folder)], [])["tools"]
    assert set(told) == {"list_files", "analyze_file", "list_sessions", "how_it_sounded"}
    assert all(description for description, _ in told.values())
    assert set(told["how_it_sounded"][1]["properties"]) == {"session", "begin_s", "end_s", "channel"}
    page = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in told)


def test_where_the_package_is_missing_the_command_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "mcp"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2 and "./run.sh install mcp" in done.stderr
