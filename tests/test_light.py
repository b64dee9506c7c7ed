"""What `./run.sh` installs at its first start is enough for compact: live, in files, on the command line."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from tests.light import ROOT, brought_by, light_environment, listed
from tests.server.clients import Client
from tests.server.conftest import no_traceback, running

HEAVY = {"torch", "funasr", "librosa", "numba", "scipy", "scikit-learn", "matplotlib", "onnx", "transformers"}
ASKED_FOR = {"flask", "flask-socketio", "eventlet", "webrtcvad-wheels", "torch", "funasr", "numpy", "librosa"}


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return light_environment(tmp_path_factory.mktemp("light"))


def cli(light: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(command, cwd=ROOT, env=light, capture_output=True, text=True, check=False)


def test_the_light_set_brings_nothing_heavy_and_the_whole_one_all_that_was_asked_for() -> None:
    assert not brought_by(listed("requirements-light.txt")) & HEAVY
    assert {*ASKED_FOR, "prometheus-client"} <= {one.name for one in listed("requirements.txt")}
    assert brought_by(listed("requirements.txt")) >= HEAVY - {
        "scikit-learn",
        "matplotlib",
        "onnx",
        "transformers",
    }


def test_the_environment_hides_what_is_not_in_it(light: dict[str, str]) -> None:
    code = """
import importlib.util, sys
print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])
try:
    import torch
except ModuleNotFoundError as missing:
    print(missing)
"""
    names = ["torch", "librosa", "numba", "funasr", "scipy", "onnx", "numpy", "onnxruntime", "flask", "pip"]
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, env=light, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "['numpy', 'onnxruntime', 'flask']"
    assert "No module named 'torch'" in done.stdout


def test_a_server_streams_and_takes_files_without_torch_in_any_of_its_processes(
    light: dict[str, str], demo_wav: Path, demo_pcm: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", light["PYTHONPATH"])
    with running(limits__max_ahead_s=150, stream__ring_s=160, limits__messages_per_s=100_000) as server:
        told = requests.get(f"{server.url}/api/v1/status", timeout=10).json()
        assert (told["model"], told["runtime"]) == ("compact", "onnx")
        client = Client(server.url)
        client.start()
        client.speak(demo_pcm)
        summary = client.stop()
        client.close()
        with demo_wav.open("rb") as file:
            answer = requests.post(
                f"{server.url}/api/v1/emotion/recognize", files={"audio_file": file}, timeout=60
            ).json()
        assert answer["success"], answer
        assert len(summary["utterances"]) > 1 and len(answer["utterances"]) == len(summary["utterances"])
        me = psutil.Process(server.process.pid)
        assert not mapped_by(me, "libav"), "FFmpeg's libraries are for processes that are shut in"
        processes = [me, *me.children(recursive=True)]
        seen = {
            int(path.name) for path in (Path(light["PYTHONPATH"].split(os.pathsep)[0]) / "seen").iterdir()
        }
        assert len(processes) >= 3 and {process.pid for process in processes} <= seen, "each was shut off"
        assert any(mapped_by(process, "libav") for process in processes), "and there it is"
        for process in processes:
            assert not mapped_by(process, "libtorch|libllvmlite|_torch")
        no_traceback(server.log())


def mapped_by(process: psutil.Process, names: str) -> list[str]:
    """Files in its memory whose names begin so."""
    return [mapped.path for mapped in process.memory_maps() if re.match(names, Path(mapped.path).name)]


def test_the_command_line_needs_no_torch(light: dict[str, str], tmp_path: Path, demo_wav: Path) -> None:
    analyzed = cli(light, "analyze", str(demo_wav), "--json")
    assert json.loads(analyzed.stdout)["model"] == "compact", analyzed.stderr
    assert "compact" in cli(light, "models").stdout
    (tmp_path / "neutral").mkdir()
    shutil.copy(demo_wav, tmp_path / "neutral")
    out = tmp_path / "out"
    evaluated = cli(light, "evaluate", str(tmp_path), "--conditions", "clean", "--out", str(out))
    assert evaluated.returncode == 0, evaluated.stderr
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4, "whole and three times"


def test_the_sdk_needs_no_torch(light: dict[str, str], demo_wav: Path) -> None:
    code = """
import sys
from emotion_stream import EmotionModel
found = EmotionModel().analyze(sys.argv[1])
print(len(found.utterances), *({"torch", "librosa", "numba", "scipy", "funasr"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(demo_wav)]
    done = subprocess.run(command, cwd=ROOT, env=light, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and int(done.stdout) > 1, done.stderr


@pytest.mark.parametrize(
    ("options", "settings", "command"),
    [
        (("--model", "emotion2vec_plus_base"), {}, "./run.sh install emotion2vec"),
        (("--device", "cuda"), {}, "./run.sh install torch"),
        ((), {"EMOTION_MODEL__RUNTIME": "torch"}, "./run.sh install torch"),
    ],
)
def test_who_asks_for_more_is_told_the_command_that_brings_it(
    light: dict[str, str], demo_wav: Path, options: tuple[str, ...], settings: dict[str, str], command: str
) -> None:
    done = cli({**light, **settings}, "analyze", str(demo_wav), *options)
    assert done.returncode != 0 and command in done.stderr and "Traceback" not in done.stderr, done.stderr
