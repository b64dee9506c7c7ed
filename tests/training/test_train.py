"""The whole recipe, small: made-up corpora → weights that both runtimes load, judge and serve."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the recipe needs torch")
pytest.importorskip("librosa", reason="the recipe needs librosa")
pytest.importorskip("onnx", reason="the recipe writes graphs with onnx")

from cli.main import app
from stream.models.registry import load_model
from stream.types import LABELS, SAMPLE_RATE, Floats, Window, samples_for
from tests.conftest import Server
from training.corpus import SHIPPED, TrainingClip, judged, read_clips
from training.train import check


@pytest.fixture(scope="module")
def pieces(demo_samples: Floats) -> list[Floats]:
    """Speech of two seconds each."""
    return [demo_samples[round((0.3 + 2.0 * i) * SAMPLE_RATE) :][: 2 * SAMPLE_RATE] for i in range(8)]


def speaks(pieces: list[Floats], speaker: int, label: int, n: int) -> Floats:
    """Somebody's voice, higher or lower; loudness tells the emotion."""
    piece = pieces[(3 * speaker + n) % len(pieces)]
    at = np.arange(0, len(piece) - 1, 0.85 + 0.06 * speaker)
    louder = np.where(np.sin(np.arange(len(at)) * (label + 1) * 2e-3) > 0, 1.0, 0.2)
    return np.asarray(np.interp(at, np.arange(len(piece)), piece) * louder, np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, pieces: list[Floats]) -> Path:
    """SUBESCO and CaFE, of six speakers each, a corpus of sounds, one that may not be sold."""
    root = tmp_path_factory.mktemp("data")
    for n, (emotion, letter) in enumerate((("ANGRY", "C"), ("NEUTRAL", "N"), ("SAD", "T"))):
        for speaker in range(6):
            said = speaks(pieces, speaker, n, speaker % 2)
            for path in (
                root / "s" / f"{'FM'[speaker % 2]}_{speaker:02}_NAME_S_1_{emotion}_1.wav",
                root / "c" / f"{speaker + 1:02}-{letter}-1-1.wav",
            ):
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, said, SAMPLE_RATE)
    rng = np.random.default_rng(0)
    rows = []
    for n in range(12):
        soundfile.write(root / f"hiss-{n}.wav", 0.1 * rng.standard_normal(SAMPLE_RATE), SAMPLE_RATE)
        split = ("train", "val", "test")[max(0, n - 9)]
        rows.append([f"hiss-{n}.wav", "hiss", "CC0", "", "unknown", split])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "corpus", "license", "speaker", "emotion", "split"], *rows])
    return root


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "mine"
    corpora = ["--add", f"subesco={data / 's'}", "--add", f"cafe={data / 'c'}"]
    arguments = ["train", "--out", str(out), "--data", str(data), *corpora, "--quick"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_weights_are_made_of_whatever_corpora_there_are(made: Path) -> None:
    report = json.loads((made / "report.json").read_text())
    assert report["learned_from"] == {
        "hiss": {"clips": 11, "license": "CC0"},
        "subesco": {"clips": 15, "license": "CC BY 4.0"},
        "cafe": {"clips": 15, "license": "CC BY-NC-SA 4.0"},
    }
    assert set(report["held_out"]["uar"]) == {"subesco", "cafe"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_runtimes_say_the_same_with_them_and_not_what_the_shipped_ones_say(
    made: Path, pieces: list[Floats]
) -> None:
    windows = [Window("a", 0, 10, True, pieces[0][: samples_for(10)], None)]
    by_graph, by_torch = (
        load_model(str(made), "cpu", {"runtime": runtime, "precision": "float32"})
        for runtime in ("onnx", "torch")
    )
    one, two = (model.score(windows)[0].logits for model in (by_graph, by_torch))
    np.testing.assert_allclose(one, two, atol=1e-3)
    shipped = load_model("compact", "cpu", {"runtime": "onnx", "precision": "float32"})
    assert np.abs(shipped.score(windows)[0].logits - one).max() > 0.01
    assert by_graph.spec.fingerprint != shipped.spec.fingerprint
    assert by_graph.spec.measured is None and shipped.spec.measured
    spoken = {LABELS[i] for i in range(len(LABELS)) if LABELS[i] in by_graph.spec.supported_labels}
    assert spoken == {"angry", "neutral", "sad", "unknown"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_takes_them(made: Path) -> None:
    server = Server(model__name=made, model__device="cpu")
    try:
        status = json.loads(server.get("/api/v1/status")[1])
        assert status["ready"] and status["supported_labels"] == ["angry", "neutral", "sad", "unknown"]
        assert status["measured"] is None
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_may_not_be_sold_is_left_out(data: Path, made: Path) -> None:
    assert {clip.corpus for clip in read_clips(data, only_commercial=True)} == {"hiss", "subesco"}
    assert {clip.corpus for clip in read_clips(data)} == {"hiss", "subesco", "cafe"}


def test_corpora_of_sounds_are_not_judged() -> None:
    def clip(corpus: str, label: str) -> TrainingClip:
        return TrainingClip(Path("x"), corpus, "", LABELS.index(label), "train")

    clips = [clip("zeta", "angry"), clip("esc10", "unknown"), clip("nemo", "sad"), clip("emodb", "happy")]
    assert judged(clips) == ("emodb", "nemo", "zeta") and set(SHIPPED) >= {"emodb", "nemo"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_data_that_nothing_can_be_learned_from_is_refused(split: str) -> None:
    def clip(label: str, split: str, corpus: str = "own") -> TrainingClip:
        return TrainingClip(Path("x"), corpus, "", LABELS.index(label), split)

    good = [clip(label, each) for label in ("angry", "neutral") for each in ("train", "test")]
    check(good)
    with pytest.raises(ValueError, match=split):
        check([one for one in good if one.split != split])
    with pytest.raises(ValueError, match="one emotion alone"):
        check([*good, clip("sad", split, "other")])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    none = CliRunner().invoke(app, ["train", "--out", str(tmp_path)], env={"EMOTION_DATA": ""})
    assert none.exit_code == 2
    empty = CliRunner().invoke(app, ["train", "--out", str(tmp_path), "--data", str(tmp_path)])
    assert empty.exit_code == 2 and "manifest.csv" in empty.output
