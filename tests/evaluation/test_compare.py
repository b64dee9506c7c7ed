"""Two evaluations of the same recordings: differences that are there are found, others are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cli.main import app
from evaluation.compare import CannotCompare, Difference, EvaluatedClips, compare, read
from evaluation.run import Request, main
from server import config as configuration
from stream.types import LABELS, N_LABELS, SAMPLE_RATE, Floats

ROOT = Path(__file__).resolve().parents[2]
N_SPEAKERS, CLIPS_EACH = 20, 12
SHOWN = [0, 3, 4, 6]  # angry, happy, neutral, sad


def answers(right: np.ndarray) -> EvaluatedClips:
    """One corpus; `right` (N_SPEAKERS, CLIPS_EACH): whether the clip is answered rightly."""
    speakers, labels, scores = {}, {}, {}
    for who in range(N_SPEAKERS):
        for n in range(CLIPS_EACH):
            clip = ("own", f"{who}/{n}.wav")
            truth = SHOWN[n % len(SHOWN)]
            said = truth if right[who, n] else SHOWN[(n + 1) % len(SHOWN)]
            speakers[clip], labels[clip] = str(who), truth
            scores[clip] = np.full(N_LABELS, 0.05, np.float32)
            scores[clip][said] = 0.6
    return EvaluatedClips("made up", speakers, labels, {("clean", "whole"): scores})


def uar(found: list[Difference]) -> Difference:
    return next(one for one in found if (one.way, one.figure, one.corpus) == ("restricted", "uar", "own"))


def test_the_same_answers_do_not_differ() -> None:
    rng = np.random.default_rng(0)
    one = answers(rng.random((N_SPEAKERS, CLIPS_EACH)) < 0.6)
    for found in compare(one, one):
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_better_model_is_found_and_by_how_much() -> None:
    rng = np.random.default_rng(1)
    right = rng.random((N_SPEAKERS, CLIPS_EACH)) < 0.6
    better = right | (rng.random(right.shape) < 0.2)
    found = uar(compare(answers(right), answers(better)))
    # Every label has as many clips, so UAR is the share of right answers.
    assert found.difference == pytest.approx(better.mean() - right.mean(), abs=1e-6)
    assert found.first == pytest.approx(right.mean(), abs=1e-6)
    assert 0 < found.low < found.difference < found.high and found.p < 0.01
    worse = uar(compare(answers(better), answers(right)))
    assert worse.difference == -found.difference and (worse.low, worse.high) == (-found.high, -found.low)
    assert (found.n_clips, found.n_speakers) == (N_SPEAKERS * CLIPS_EACH, N_SPEAKERS)


def test_what_makes_a_clip_hard_for_both_cancels_out() -> None:
    rng = np.random.default_rng(2)
    voice = rng.random((N_SPEAKERS, 1))  # some are understood, some are not
    right = rng.random((N_SPEAKERS, CLIPS_EACH)) < voice
    better = right.copy()
    better[:, 0] = True  # one clip of each speaker
    paired = uar(compare(answers(right), answers(better)))
    draws = rng.integers(0, N_SPEAKERS, (500, N_SPEAKERS))
    alone, also_alone = (float(np.std([m[drawn].mean() for drawn in draws])) for m in (right, better))
    assert paired.high - paired.low < 0.5 * 2 * 1.96 * (alone**2 + also_alone**2) ** 0.5


def test_where_there_is_none_a_difference_is_seldom_found() -> None:
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(60):
        voice = rng.beta(4, 3, (N_SPEAKERS, 1))
        one, two = (rng.random((N_SPEAKERS, CLIPS_EACH)) < voice for _ in range(2))
        false += uar(compare(answers(one), answers(two))).p < 0.05
    assert false <= 8  # 3 are to be expected; 9 or more have a chance of one in 300


def test_other_clips_are_left_out_and_other_labels_refused() -> None:
    right = np.ones((N_SPEAKERS, CLIPS_EACH), bool)
    one, two = answers(right), answers(right)
    clip = ("own", "0/0.wav")
    del two.labels[clip], two.speakers[clip], two.scores["clean", "whole"][clip]
    assert uar(compare(one, two)).n_clips == N_SPEAKERS * CLIPS_EACH - 1
    two.labels["own", "0/1.wav"] = LABELS.index("other")
    with pytest.raises(CannotCompare, match=r"0/1\.wav"):
        compare(one, two)
    with pytest.raises(CannotCompare, match="no clip in common"):
        compare(one, EvaluatedClips("empty", {}, {}, {}))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, pieces: list[Floats]) -> list[Path]:
    """Of one folder of recordings, under two priors; the second without one clip."""
    root = tmp_path_factory.mktemp("clips")
    for i, piece in enumerate(pieces[:8]):
        path = root / ("angry", "neutral")[i % 2] / ("anna", "bert")[i // 4] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, piece, SAMPLE_RATE)
    found = []
    for prior in ("balanced", "conversation"):
        out = tmp_path_factory.mktemp(prior)
        settings = {"model": {"name": "compact", "device": "cpu", "prior": prior}}
        request = Request(root, out=out, conditions=("clean", "telephone"), times=("1",))
        assert main(request, configuration.load(ROOT / "config.yaml", settings), as_json=False) == 0
        found.append(out)
    return found


def test_the_command_agrees_with_both_reports(reports: list[Path]) -> None:
    done = CliRunner().invoke(app, ["compare", *map(str, reports), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert "balanced" in told["first"] and "conversation" in told["second"]
    (corpus,) = read(reports[0]).labels and {name for name, _ in read(reports[0]).labels}
    for side, report in zip(("first", "second"), reports, strict=True):
        figures = json.loads((report / "metrics.json").read_text())["figures"]
        for one in told["differences"]:
            way = {"restricted": "restricted", "nine-way": "nine"}[one["way"]]
            value = figures[one["condition"]][one["time"]][way][corpus][one["figure"]]["value"]
            assert one[side] == pytest.approx(value, abs=2e-3), one
    assert {(one["condition"], one["time"]) for one in told["differences"]} == {
        (condition, time) for condition in ("clean", "telephone") for time in ("whole", "1")
    }
    shown = CliRunner().invoke(app, ["compare", *map(str, reports)], env={"COLUMNS": "140"})
    assert shown.exit_code == 0 and "UAR, restricted" in shown.output and "ECE, nine-way" in shown.output


def test_folders_of_something_else_end_it_with_words(tmp_path: Path, reports: list[Path]) -> None:
    done = CliRunner().invoke(app, ["compare", str(reports[0]), str(tmp_path)])
    assert done.exit_code == 2 and str(tmp_path) in done.output
