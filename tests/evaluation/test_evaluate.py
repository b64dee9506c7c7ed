"""The whole way: a folder of recordings → a report, figures and pictures that agree with the product."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from evaluation.conditions import CONDITIONS
from evaluation.run import Request, main
from server import config as configuration
from server.engine.inprocess import InProcessEngine
from server.files.find import recognize_file
from server.files.recognize import RecognizeOptions
from stream.models.registry import load_model
from stream.types import LABELS, SAMPLE_RATE, Floats

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pieces: list[Floats]) -> Path:
    """Two labels of two speakers, noise as `unknown`, a clip of silence, and a broken file."""
    root = tmp_path_factory.mktemp("own")
    for i, piece in enumerate(pieces[:8]):
        path = root / ("angry", "neutral")[i % 2] / ("anna", "bert")[i // 4] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, piece, SAMPLE_RATE)
    soundfile.write(root / "neutral" / "anna" / "silence.wav", pieces[8], SAMPLE_RATE)
    (root / "unknown").mkdir()
    hiss = 0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    soundfile.write(root / "unknown" / "hiss.wav", hiss, SAMPLE_RATE)
    (root / "angry" / "bert" / "broken.wav").write_bytes(b"RIFF")
    return root


def settings(model: str) -> configuration.Config:
    return configuration.load(ROOT / "config.yaml", {"model": {"name": model, "device": "cpu"}})


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("report")
    assert main(Request(folder, out=path), settings("compact"), as_json=False) == 1, "one clip is broken"
    return path


@pytest.fixture(scope="module")
def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_are_there(out: Path, folder: Path) -> None:
    names = {path.name for path in out.iterdir()}
    expected = {"report.md", "metrics.json", "predictions.csv", "reliability.png"}
    expected |= {f"confusion_all_{condition}.png" for condition in CONDITIONS}
    assert names == expected | {f"confusion_{folder.name}.png"}
    for path in out.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").resize((60, 60)).getcolors(3600) or []) > 5


def test_the_report_says_what_a_reader_must_know(out: Path) -> None:
    text = (out / "report.md").read_text(encoding="utf-8")
    for part in ("compact", "broken.wav", "no speech", "angry, neutral", "2 speakers", "floor", "telephone"):
        assert part in text
    assert "nan" not in text.lower()
    for name in (line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")):
        assert (out / name).exists()


def test_predictions_are_what_the_product_says(folder: Path, rows: list[dict[str, str]]) -> None:
    assert len(rows) == 10 * 4 * 4, "ten clips that can be read, four conditions, whole and three times"
    loaded = settings("compact")
    engine = InProcessEngine(load_model("compact", "cpu", loaded.model.options), loaded.engine_settings)
    silent = 0
    for row in rows:
        if (row["condition"], row["time"]) != ("clean", "whole"):
            continue
        said = recognize_file(folder / row["file"], engine, loaded, RecognizeOptions()).result()
        assert row["predicted"] == said["emotion"]
        for label in LABELS:
            assert float(row[f"score_{label}"]) == pytest.approx(said["scores"][label], abs=1e-5)
        silent += row["speech"] == "0"
    engine.close()
    assert silent >= 1


def test_a_conversation_knows_the_voice(rows: list[dict[str, str]]) -> None:
    """Clips after the first are told a little otherwise than alone; of nobody's, nothing is known."""
    said = {
        condition: {
            row["file"]: [float(row["speech"]), *(float(row[f"score_{label}"]) for label in LABELS)]
            for row in rows
            if (row["condition"], row["time"]) == (condition, "whole")
        }
        for condition in ("clean", "conversation")
    }
    alike = {
        file: said["conversation"][file] == pytest.approx(told, abs=1e-4)
        for file, told in said["clean"].items()
    }
    assert alike["unknown/hiss.wav"], "nobody: a session of its own"
    for speaker in ("anna", "bert"):
        mine = [same for file, same in alike.items() if f"/{speaker}/" in file and said["clean"][file][0]]
        assert len(mine) == 4
        assert sum(mine) <= 1


def test_figures_follow_from_the_predictions(
    figures: dict[str, Any], rows: list[dict[str, str]], folder: Path
) -> None:
    whole = [row for row in rows if (row["condition"], row["time"]) == ("noise", "whole")]
    right = np.mean([row["label"] == row["predicted"] for row in whole])
    assert figures["figures"]["noise"]["whole"]["nine_pooled"]["wa"]["value"] == pytest.approx(
        right, abs=1e-6
    )
    # Restricted to the labels of the folder; where nothing was said, wrong.
    allowed = ("angry", "neutral", "unknown")
    hits: dict[str, list[bool]] = {label: [] for label in allowed}
    for row in whole:
        best = max(allowed, key=lambda label: float(row[f"score_{label}"]))
        hits[row["label"]].append(row["speech"] == "1" and best == row["label"])
    uar = np.mean([np.mean(found) for found in hits.values()])
    restricted = figures["figures"]["noise"]["whole"]["restricted"][folder.name]
    assert restricted["uar"]["value"] == pytest.approx(uar, abs=1e-6)
    assert restricted["uar"]["low"] <= uar <= restricted["uar"]["high"]
    assert set(figures["figures"]["clean"]) == {"whole", "0.5", "1", "2"}
    assert figures["about"]["unreadable"][0]["file"] == "angry/bert/broken.wav"
    assert figures["corpora"][folder.name]["no_speech"]["clean"] >= 1
    assert figures["unknown"]["clean"]["noise"] == 1
    assert figures["unknown"]["clean"]["speech"] == 9


def test_a_model_that_can_say_little_and_one_label(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to tell apart: no restricted figures, and no mean; the rest stands."""
    request = Request(folder / "unknown", conditions=("clean",), times=(), out=tmp_path / "a")
    assert main(request, settings("fake"), as_json=True) == 2, "no label folders below it"
    lonely = tmp_path / "lonely.csv"
    lonely.write_text(f"path,emotion\n{folder / 'unknown' / 'hiss.wav'},unknown\n", encoding="utf-8")
    request = Request(lonely, conditions=("clean",), times=(), out=tmp_path / "b")
    capsys.readouterr()
    assert main(request, settings("fake"), as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    panel = found["figures"]["clean"]["whole"]
    assert panel["restricted"] == {}
    assert panel["restricted_mean"] is None
    assert "surprised" in found["about"]["cannot_say"]
    assert (tmp_path / "b" / "report.md").exists()


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_command(folder: Path, tmp_path: Path) -> None:
    options = [
        "--model",
        "fake",
        "--limit",
        2,
        "--conditions",
        "clean",
        "--live",
        "1",
        "--json",
        "--out",
        tmp_path,
    ]
    done = evaluate(folder, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["about"]["limit"] == 2
    assert list(found["figures"]) == ["clean"]
    assert "report.md" in done.stderr


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request(Path("nowhere")), "no such file or folder"),
        (Request(Path("nowhere"), conditions=("clean", "underwater")), "underwater; there are: clean"),
        (Request(Path("nowhere"), times=("0.5", "soon")), "'soon'"),
        (Request(Path("nowhere"), times=("-1",)), "'-1'"),
    ],
)
def test_errors_are_told(request_: Request, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(request_, settings("fake"), as_json=False) == 2
    captured = capsys.readouterr()
    assert told in captured.err.replace("\n", " ")
    assert captured.out == ""


def test_nothing_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "broken.wav").write_bytes(b"RIFF")
    assert main(Request(tmp_path, out=tmp_path / "out"), settings("fake"), as_json=False) == 2
    assert "None of the clips could be read" in capsys.readouterr().err
