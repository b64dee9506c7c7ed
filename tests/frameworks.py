"""Frameworks that integrations are for, each in a virtual environment of its own beside the tests' one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from server import system
from tests.conftest import ROOT

OURS = "emotion-stream"
CLIENT = ROOT / "client" / "python"


def listed(*names: str) -> list[str]:
    """The packages of files of requirements, but for our own."""
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line and line[0] not in "#-"]


def requirements(integration: Path) -> list[str]:
    """What it needs that is not ours, with what ours needs: the client, and a model in the process."""
    projects = (tomllib.loads((path / "pyproject.toml").read_text()) for path in (integration, CLIENT))
    needed = [line for project in projects for line in project["project"]["dependencies"]]
    return [line for line in (*needed, *listed("requirements-light.txt")) if not line.startswith(OURS)]


def install(name: str, needed: list[str]) -> Path:
    """The Python that has them; skips the test where they cannot be had."""
    folder = Path(sys.prefix) / f"{name}-for-tests"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        system.lock(lock, wait=True)
        done, python = folder / ".done", folder / "bin" / "python"
        wanted = "\n".join([*needed, f"mypy=={version('mypy')}"])
        if not done.exists() or done.read_text() != wanted:
            venv.create(folder, with_pip=True)
            (folder / "requirements.txt").write_text(wanted)
            command = [str(python), "-m", "pip", "install", "-q", "-r", str(folder / "requirements.txt")]
            told = subprocess.run(command, capture_output=True, text=True)
            if told.returncode:
                pytest.skip(f"{name} cannot be had: {told.stderr.strip().splitlines()[-1]}")
            done.write_text(wanted)
    return python


def environment(integration: Path) -> dict[str, str]:
    """Our packages, as if they were installed."""
    paths = [integration, CLIENT, ROOT]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONWARNINGS": "ignore"}


def run(integration: Path, program: Path, *arguments: object) -> Any:
    """What a program for the framework prints as its last line, JSON."""
    command = [str(install(integration.name, requirements(integration))), str(program), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(integration), cwd=program.parent, timeout=110
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def check_types(integration: Path, package: str, folder: Path) -> None:
    """Against the framework's own types."""
    # Not all of the framework's own functions have types.
    options = ["--strict", "--allow-untyped-calls", "--follow-imports=silent", f"--cache-dir={folder}"]
    done = subprocess.run(
        [install(integration.name, requirements(integration)), "-m", "mypy", *options, "-p", package],
        env={**environment(integration), "MYPYPATH": f"{integration}:{CLIENT}"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
