"""Starting: what is wrong with the settings, the port or the command line is said in a sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.conftest import ROOT, Server
from tests.server.clients import eventually
from tests.server.conftest import MODES

COMMANDS = {"serve", "models", "analyze", "demo"}


def run(*arguments: str, timeout_s: float = 20, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str, status: int = 2) -> None:
    said = done.stderr + done.stdout
    assert done.returncode == status, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engine:\n  max_wiat_ms: 5\n", ["engine.max_wiat_ms", "unknown key", "max_wait_ms"]),
        ("server: 5\n", ["server"]),
        ("just text\n", []),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_their_path(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    refused(run("serve", "--config", str(file)), "mine.yaml", *words)


def test_variables_that_cannot_be_used_end_it_too() -> None:
    refused(run("serve", EMOTION_SERVER__PROT="1"), "EMOTION_SERVER__PROT", "EMOTION_SERVER__PORT")


def test_options_on_the_command_line_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    refused(run("serve", "--port", "70000"), "command line: server.port: ", "70000")
    refused(
        run("serve", "--device", "gpu", EMOTION_MODEL__DEVICE="cpu"), "command line: model.device: ", "gpu"
    )
    for replace_this_process in ("execv", "execve"):
        monkeypatch.delattr(os, replace_this_process)
    for arguments, word in [(["serve", "--prot", "1"], "--prot"), (["sevre"], "sevre")]:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2 and word in done.output


@pytest.mark.parametrize("mode", MODES)
def test_a_port_that_is_taken_ends_it_with_a_clear_message(mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = str(owner.getsockname()[1])
        done = run("serve", "--port", port, "--model", "fake", EMOTION_SERVER__ASYNC_MODE=mode)
    refused(done, "cannot listen", port, "in use", status=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["--model", "whisper"], {}, ["whisper", "compact"]),
        (["--model", "fake", "--device", "cpu"], {"EMOTION_STREAM__HOP_MS": "110"}, ["hop_ms", "100"]),
        (["--model", "compact", "--device", "cuda:93"], {}, ["cuda:93"]),
    ],
)
def test_a_model_that_can_never_run_ends_it(
    arguments: list[str], variables: dict[str, str], words: list[str]
) -> None:
    done = run("serve", "--port", "0", *arguments, timeout_s=40, **variables)
    refused(done, *words, status=done.returncode)
    assert done.returncode in (1, 2)


def test_help_names_every_command_and_what_it_does() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout
        helped = CliRunner().invoke(app, [command, "--help"])
        assert helped.exit_code == 0 and "Usage" in helped.stdout and command in helped.stdout
    assert "--port" in CliRunner().invoke(app, ["serve", "--help"], terminal_width=120).stdout


def test_models_lists_what_can_be_chosen() -> None:
    done = run("models")
    assert done.returncode == 0 and "compact" in done.stdout and "fake" in done.stdout


def test_port_0_takes_a_free_one_and_says_which() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--port", "0", "--model", "fake"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        announced = eventually(lambda: next((x for x in lines if "is ready" in x), None), "it is ready")
        port = int(announced.rsplit(":", 1)[1])
        server = object.__new__(Server)
        server.url = f"http://127.0.0.1:{port}"
        assert server.get("/readyz")[0] == 200
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0
