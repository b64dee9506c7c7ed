"""The wheel: what `pip install` brings, started from an empty folder outside any checkout."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement

from tests.server.clients import Client, eventually

ROOT = Path(__file__).resolve().parents[2]
START = "import sys; from emotion_stream import main; sys.argv[0] = 'emotion-stream'; main()"

EXTRAS = ["emotion2vec", "export", "mcp", "ray", "redis", "tools", "torch"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, cwd=folder)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(io.BytesIO(file.read_bytes()))


@pytest.fixture(scope="module")
def libraries(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As in site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    wheel.extractall(folder)
    return folder


def command(libraries: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(libraries)}
    return [sys.executable, "-c", START, *arguments], environment


def test_it_holds_the_pages_the_weights_and_the_license_texts_inside_one_package(
    wheel: zipfile.ZipFile,
) -> None:
    names = set(wheel.namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"emotion_stream"}
    for page in ("live", "desk", "upload", "board"):
        assert any(name.startswith(f"emotion_stream/static/{page}/") for name in names)
    here = {
        *(
            "config.yaml",
            "weights/compact/weights.npz",
            "weights/compact/CARD.md",
            "client/js/emotion-stream.js",
        ),
        *("server/http/openapi.yaml", "tools/report.html.j2", "emotion_stream_client/__init__.py"),
        *("demo/conversation.wav", "static/vendor/uplot/LICENSE"),
    }
    assert {f"emotion_stream/{name}" for name in here} <= names
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    (metadata,) = (name for name in names if name.endswith("/METADATA"))
    told = HeaderParser().parsestr(wheel.read(metadata).decode())
    needed = [Requirement(line) for line in told.get_all("Requires-Dist", [])]
    light = {one.name for one in needed if one.marker is None}
    assert "onnxruntime" in light and not light & {"torch", "funasr", "librosa"}
    extras = {
        extra: {one.name for one in needed if one.marker and extra in str(one.marker)} for extra in EXTRAS
    }
    assert extras["torch"] == {"torch"} and extras["emotion2vec"] == {"torch", "funasr"}
    assert extras["ray"] == {"ray"}
    assert told.get_all("Provides-Extra") == EXTRAS


def test_its_help_names_the_command_and_analyze_works_anywhere(
    libraries: Path, tmp_path: Path, demo_wav: Path
) -> None:
    arguments, environment = command(libraries, "--help")
    shown = subprocess.run(
        arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "Usage: emotion-stream" in shown
    assert all(name in shown for name in ("serve", "analyze", "evaluate", "demo", "models", "tools"))
    arguments, environment = command(libraries, "analyze", str(demo_wav), "--json", "--model", "fake")
    answer = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, check=True).stdout
    assert json.loads(answer)["model"] == "fake"


def test_it_serves_and_writes_where_it_was_started(libraries: Path, tmp_path: Path, demo_wav: Path) -> None:
    arguments, environment = command(libraries, "serve", "--port", "0", "--model", "fake")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(arguments, env=environment, cwd=tmp_path, stderr=log, stdout=log)

    def text() -> str:
        return (tmp_path / "log").read_text(encoding="utf-8")

    try:
        eventually(lambda: "is ready:" in text(), "it is ready", 60)
        url = text().partition("is ready:")[2].split()[0]
        assert "emotion-stream models" in text(), "the hint names the command that there is"
        for page in ("/", "/desk", "/upload", "/client/emotion-stream.js"):
            assert requests.get(url + page, timeout=10).status_code == 200, page
        client = Client(url)
        assert client.start()["ok"]
        client.close()
        with demo_wav.open("rb") as file:
            answer = requests.post(
                f"{url}/api/v1/emotion/recognize", files={"audio_file": file}, timeout=60
            ).json()
        assert answer["success"], answer
        assert list((tmp_path / "outputs").glob("*/result.json")), "results lie where it was started"
    finally:
        process.terminate()
        assert process.wait(30) == 0, text()


def test_other_programs_import_it(libraries: Path, tmp_path: Path, demo_wav: Path) -> None:
    program = """
import sys
import emotion_stream
from emotion_stream import EmotionModel
assert emotion_stream.__file__.startswith(sys.argv[1]), emotion_stream.__file__
model = EmotionModel("fake")
waveform, sample_rate = model.load_audio(sys.argv[2])
print(model.inference(waveform, sample_rate).model, len(model.stream().push(waveform)) > 10)
import server
assert server.__file__.startswith(sys.argv[1]), server.__file__
"""
    _, environment = command(libraries)
    arguments = [sys.executable, "-c", program, str(libraries), str(demo_wav)]
    done = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fake True\n", "")


def test_a_checkout_is_installed_as_it_stands(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(path).decode().split() == [str(ROOT), str(ROOT / "client" / "python")]
        assert not [name for name in archive.namelist() if name.endswith(".py")]
