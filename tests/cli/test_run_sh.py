"""run.sh: what it starts and what it installs, in a copy whose Python only notes down how it was called."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app
from tests.conftest import ROOT

PYTORCH = "https://download.pytorch.org/whl/cpu"
(PINNED,) = [x.split()[0] for x in (ROOT / "requirements-torch.txt").read_text().splitlines() if x[0] != "#"]
TORCH = f"{PINNED}+cpu"
WHAT = {path.name for path in ROOT.glob("requirements*.txt")}

Run = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("models")`: how it ended, and each call of Python."""
    for path in (ROOT / "run.sh", ROOT / "config.yaml", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # torch is not there, and its CPU build is where pip looks by itself if there is a file of that name.
    python.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$*" in
  *"show --quiet torch"*) exit 1 ;;
  *extra-index*) [ -e {tmp_path}/pytorch ] ;;
  *+cpu*) [ -e {tmp_path}/mirror ] ;;
esac
"""
    )
    python.chmod(0o755)
    (tmp_path / "mirror").touch()
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text(f"#!/bin/sh\n[ -e {tmp_path}/gpu ]\n")
    driver.chmod(0o755)
    environment = {**os.environ, "PATH": f"{driver.parent}:{os.environ['PATH']}"}

    def one(*arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        done = subprocess.run(
            ["./run.sh", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done, calls.read_text().splitlines()

    return one


def installs(calls: list[str]) -> list[str]:
    """The files that were installed, and torch."""
    return [
        word
        for call in calls
        if "pip install" in call
        for word in call.split()
        if word in WHAT or "+cpu" in word
    ]


def test_the_first_start_installs_what_serving_needs_and_no_later_one_anything(run: Run) -> None:
    _, calls = run()
    assert installs(calls) == ["requirements-light.txt"] and calls[-1] == "-m cli serve"
    for arguments in (
        ("--model", "emotion2vec_plus_base"),
        ("tools", "trend", "x"),
        ("analyze", "emotion2vec/"),
    ):
        done, calls = run(*arguments)
        assert done.returncode == 0 and installs(calls) == [] and len(calls) == 1, calls
        assert calls[0].startswith(
            "-m cli serve" if arguments[0].startswith("-") else f"-m cli {arguments[0]}"
        )


def test_more_is_installed_when_it_is_told_to(run: Run) -> None:
    done, calls = run("install", "tools", "emotion2vec")
    wanted = ["requirements-light.txt", "requirements-tools.txt", TORCH, "requirements-emotion2vec.txt"]
    assert installs(calls) == wanted
    assert (
        f"No NVIDIA GPU is found here: installing the CPU build of {TORCH.removesuffix('+cpu')}"
        in done.stderr
    )
    assert run("install", "tools")[1] == []


@pytest.mark.parametrize("asked", ["test", "check"])
def test_the_tests_install_all_that_they_need(run: Run, asked: str) -> None:
    assert installs(run(asked)[1]) == [TORCH, "requirements-dev.txt"]


def test_where_there_is_a_gpu_torch_is_what_the_index_has(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gpu").touch()
    assert installs(run("install", "torch")[1]) == ["requirements-light.txt", "requirements-torch.txt"]


def test_pytorch_is_asked_where_pip_finds_no_cpu_build_and_gigabytes_come_only_when_told_to(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "mirror").unlink()
    done, calls = run("install", "torch")
    assert done.returncode == 1 and calls[-1].split()[-4:-1] == ["--extra-index-url", PYTORCH, TORCH]
    assert installs(calls) == ["requirements-light.txt", TORCH, TORCH]
    assert ".venv/bin/python -m pip install torch==" in done.stderr and "TORCH_INDEX=" in done.stderr
    (tmp_path / "pytorch").touch()
    done, calls = run("install", "torch")
    assert done.returncode == 0 and installs(calls) == [TORCH, TORCH, "requirements-torch.txt"]


def test_what_cannot_be_installed_is_refused_before_anything_is(run: Run) -> None:
    done, calls = run("install", "tools", "nonsense")
    assert done.returncode == 2 and "nonsense" in done.stderr and calls == []


def test_other_requirements_are_told_of_and_not_installed(run: Run, tmp_path: Path) -> None:
    run()
    with (tmp_path / "requirements-light.txt").open("a") as file:
        file.write("something>=1,<2  # new\n")
    done, calls = run("models")
    assert "./run.sh install" in done.stderr and calls == ["-m cli models"]
    assert installs(run("install")[1]) == ["requirements-light.txt"]
    assert run("models")[0].stderr == ""


def usage(folder: Path, locale: str) -> str:
    done = subprocess.run(
        ["./run.sh", "--help"],
        cwd=folder,
        env={**os.environ, "LC_ALL": locale},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0
    return done.stdout


def test_both_usages_name_the_same_commands_and_all_there_are(tmp_path: Path) -> None:
    shutil.copy(ROOT / "run.sh", tmp_path)
    english, chinese = (
        [
            line.split("  ")[1].strip()
            for line in usage(tmp_path, locale).splitlines()
            if line.startswith("  .")
        ]
        for locale in ("C", "zh_CN.UTF-8")
    )
    assert english == chinese
    commands = {name for name, command in get_command(app).commands.items() if not command.hidden}  # type: ignore[attr-defined]
    told = {words[1] for line in english if len(words := line.split()) > 1 and words[1][0].isalpha()}
    assert commands - {"serve"} | {"tools", "install", "test", "check"} == told


def test_help_needs_no_environment(tmp_path: Path) -> None:
    shutil.copy(ROOT / "run.sh", tmp_path)
    done = subprocess.run(["./run.sh", "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "./run.sh install" in done.stdout and not (tmp_path / ".venv").exists()
