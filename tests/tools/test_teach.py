"""Labels of one's own, from recordings to REST and a live stream; and whether the promised figure comes true."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server.config import Config
from server.local_engine import local_engine
from stream import custom_labels
from tests.conftest import ROOT
from tests.corpora import corpora
from tests.server.clients import Client
from tests.server.conftest import ROOMY, running
from tools import teach
from tools.few_shot import BadExamples

pytestmark = pytest.mark.slow


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def examples_folder(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> Path:
    """The demo's speech as it is, and by a bad telephone."""
    top = tmp_path_factory.mktemp("examples")
    for i in range(6):
        piece = demo_samples[16_000 * 2 * i : 16_000 * (2 * i + 4)]
        for label, sound in (("direct", piece), ("重", np.repeat(piece[::4], 4))):
            (top / label).mkdir(exist_ok=True)
            soundfile.write(top / label / f"{i}.wav", sound, 16_000, subtype="PCM_16")
    soundfile.write(top / "direct" / "quiet.wav", np.zeros(16_000), 16_000)
    (top / "direct" / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(top / "重" / "0.wav", top / "重" / "copy.wav")
    return top


@pytest.fixture(scope="module")
def made(examples_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "line"
    done = shell("tools", "teach", examples_folder, "--name", "line", "--out", out)
    assert done.returncode == 1 and "direct/broken.wav" in done.stderr
    assert "1 clips without speech" in done.stdout and "1 clips were there twice" in done.stdout
    assert "UAR" in done.stdout
    return out


def test_the_card_tells_what_it_is(made: Path) -> None:
    card = json.loads((made / "card.json").read_text(encoding="utf-8"))
    assert (card["name"], card["labels"], card["model"]) == ("line", ["direct", "重"], "compact")
    assert card["figures"]["clips"] == {"direct": 6, "重": 6}
    low, high = card["figures"]["uar_interval_95"]
    assert 0 <= low <= card["figures"]["uar"] <= high <= 1
    assert not [p.name for p in made.parent.iterdir() if p.name.startswith(".")]


def test_nothing_is_overwritten_unasked(made: Path, examples_folder: Path) -> None:
    done = shell("tools", "teach", examples_folder, "--name", "line", "--out", made)
    assert done.returncode == 2 and "is there already" in done.stderr


def test_the_command_line_judges_by_them_and_other_models_refuse_them(made: Path) -> None:
    (said,) = map(json.loads, shell("analyze", "demo", "--json", "--custom-labels", made).stdout.splitlines())
    assert said["taught"]["name"] == "line" and set(said["taught"]["scores"]) == {"direct", "重"}
    assert all("taught" in one for one in said["utterances"])
    refused = shell("analyze", "demo", "--model", "fake", "--custom-labels", made)
    assert refused.returncode == 2 and "not to fake" in refused.stderr


def test_the_server_judges_live_and_over_rest_as_the_command_line_does(
    made: Path, demo_pcm: bytes, tmp_path: Path
) -> None:
    import requests

    (said,) = map(json.loads, shell("analyze", "demo", "--json", "--custom-labels", made).stdout.splitlines())
    with running(model__custom_labels=made, files__outputs=tmp_path, **ROOMY) as server:
        with (ROOT / "demo" / "conversation.wav").open("rb") as file:
            told = requests.post(
                f"{server.url}/api/v1/emotion/recognize", files={"audio_file": file}, timeout=60
            ).json()
        client = Client(server.url)
        client.start()
        client.speak(demo_pcm)
        live = client.stop()["utterances"]
        client.close()
        assert "Traceback" not in server.log()
    assert told["taught"] == said["taught"]
    assert [one["taught"] for one in told["utterances"]] == [one["taught"] for one in said["utterances"]]
    assert len(live) == len(said["utterances"])
    for one, other in zip(live, said["utterances"], strict=True):
        assert one["taught"]["scores"]["direct"] == pytest.approx(
            other["taught"]["scores"]["direct"], abs=1e-3
        )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MODEL__NAME": "fake"}, "not to fake: teach them again"),
        ({"MODEL__CUSTOM_LABELS": "no"}, "no custom labels there"),
    ],
)
def test_a_server_with_labels_that_cannot_be_used_says_so_and_ends(
    settings: dict[str, str], said: str, made: Path
) -> None:
    wanted = {"MODEL__CUSTOM_LABELS": str(made), **settings}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "serve", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **{f"EMOTION_{name}": value for name, value in wanted.items()}},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and said in done.stderr


def test_a_clip_under_two_labels_and_a_bad_name_are_refused(examples_folder: Path, tmp_path: Path) -> None:
    engine = local_engine(Config())
    top = tmp_path / "both"
    shutil.copytree(examples_folder, top)
    shutil.copy(top / "direct" / "0.wav", top / "重" / "9.wav")
    with pytest.raises(BadExamples, match="is also in direct"):
        teach.gather(top, engine, Config())
    good = teach.gather(examples_folder, engine, Config())
    with pytest.raises(BadExamples, match="--name"):
        teach.teach(good, "../../x", engine)


# -- The promise -----------------------------------------------------------------------------------------

Chosen = Callable[[dict[str, str]], bool]
PAIRS: dict[str, tuple[Chosen, Chosen]] = {
    "two corpora": (lambda r: r["corpus"] == "emodb", lambda r: r["corpus"] == "turev"),
    "two speakers": (
        lambda r: r["corpus"] == "tess" and r["speaker"] == "OAF",
        lambda r: r["corpus"] == "tess" and r["speaker"] == "YAF",
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_ten_clips_of_each_label_do_on_unseen_clips_what_they_promised(pair: str, tmp_path: Path) -> None:
    data = corpora()
    rows = list(csv.DictReader((data / "manifest.csv").open(encoding="utf-8")))
    config, rng = Config(), random.Random(3)
    engine = local_engine(config)
    unseen: list[tuple[str, Path]] = []
    for label, chosen in zip("ab", PAIRS[pair], strict=True):
        clips = [data / row["path"] for row in rows if chosen(row)]
        rng.shuffle(clips)
        (tmp_path / label).mkdir()
        for i, clip in enumerate(clips[:10]):
            (tmp_path / label / f"{i}{clip.suffix}").symlink_to(clip)
        unseen += [(label, clip) for clip in clips[10:60]]
    fitted = teach.teach(teach.gather(tmp_path, engine, config), "pair", engine)
    out = teach.save(fitted.labels, tmp_path / "out")
    judge = custom_labels.load(out)
    right: dict[str, list[bool]] = {"a": [], "b": []}
    for label, clip in unseen:
        embedding = teach.embedding_of(clip, engine, config)
        right[label].append(embedding is not None and judge.judge(embedding)["label"] == label)
    uar = float(np.mean([np.mean(found) for found in right.values()]))
    told: dict[str, Any] = fitted.figures.to_json()
    print(
        f"{pair}: promised {told['uar']} {told['uar_interval_95']}, on {len(unseen)} unseen clips {uar:.2f}"
    )
    assert fitted.figures.low <= uar <= fitted.figures.high
    assert fitted.figures.better_than_chance
