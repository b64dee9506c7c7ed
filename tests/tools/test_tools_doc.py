"""What docs/tools.md tells people to type is typed here, in order."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cli.tools import app
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in block.splitlines()
]


@pytest.mark.slow
def test_every_command_does_what_it_says(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 5
    for command in COMMANDS:
        command = command.replace("outputs/", f"{tmp_path}/")
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, command + done.stdout + done.stderr
        assert done.stdout
    made = {path.name for path in tmp_path.rglob("*")}
    assert {"results.csv", "embedding.npy", "trend.png", "trend.csv", "report.html"} <= made


def test_every_tool_is_on_the_page() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"**{command.callback.__name__}**" in PAGE or f"tools {command.callback.__name__}" in PAGE
