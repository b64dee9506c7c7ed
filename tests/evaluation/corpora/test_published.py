"""Every corpus that is known, in a made-up folder of the layout that its authors publish."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cli.main import app
from evaluation import dataset
from evaluation.corpora import CORPORA, commercial, write
from evaluation.corpora.corpus import FoundRecording, NotThisCorpus
from evaluation.corpora.manifest import splits_of
from stream.types import LABELS

# Name of a corpus → files, relative to its folder → who speaks, of which gender, and what is felt.
FILES: dict[str, dict[str, tuple[str, str, str]]] = {
    "crema-d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001", "m", "angry"),
        "AudioWAV/1002_IEO_DIS_HI.wav": ("1002", "f", "disgusted"),
        "AudioWAV/1003_IEO_FEA_LO.wav": ("1003", "", "fearful"),
        "AudioWAV/1076_MTI_SAD_X.wav": ("1076", "", "sad"),
    },
    "emozionalmente": {
        "emozionalmente_dataset/audio/1612872848291.wav": ("anna", "f", "happy"),
        "emozionalmente_dataset/audio/1612872848292.wav": ("bruno", "m", "neutral"),
        "emozionalmente_dataset/audio/1612872848293.wav": ("carla", "f", "surprised"),
    },
    "subesco": {
        "SUBESCO/F_01_OISHI_S_10_ANGRY_1.wav": ("F_01", "f", "angry"),
        "SUBESCO/F_02_MONIKA_S_2_SURPRISE_3].wav": ("F_02", "f", "surprised"),
        "SUBESCO/M_01_JAHID_S_1_NEUTRAL_5.wav": ("M_01", "m", "neutral"),
    },
    "mesd": {
        "Anger_C_A_abajo.wav": ("C", "", "angry"),
        "Happiness_F_B_antes.wav": ("F", "f", "happy"),
        "Sadness_M_A_basta ya.wav": ("M", "m", "sad"),
    },
    "emouerj": {
        "emoUERJ/m01h01.wav": ("m01", "m", "happy"),
        "emoUERJ/w02a12.wav": ("w02", "f", "angry"),
        "emoUERJ/m03n02.wav": ("m03", "m", "neutral"),
    },
    "oreau": {
        "OréauFR_02/f/sessc/01a01C1.wav": ("01", "f", "angry"),
        "OréauFR_02/m/sessj/02b03J2.wav": ("02", "m", "happy"),
        "OréauFR_02/m/sesst/12a02T.wav": ("12", "m", "sad"),
    },
    "resd": {
        "happiness_enthusiasm_32/32_happiness_enthusiasm_h_120.wav": ("32", "", "happy"),
        "happiness_enthusiasm_32/32_happiness_enthusiasm_e_121.wav": ("32", "", "happy"),
        "anger_fear_5/5_anger_fear_f_7.wav": ("5", "", "fearful"),
    },
    "jl": {
        "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/female1_angry_10a_1.wav": ("female1", "f", "angry"),
        "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/male2_excited_1b_2.wav": ("male2", "m", "happy"),
        "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/male1_sad_3a_1.wav": ("male1", "m", "sad"),
    },
    "cafe": {
        "Colère/Fort/01-C-2-3.wav": ("01", "m", "angry"),
        "Neutre/02-N-1-6.wav": ("02", "f", "neutral"),
        "Dégoût/Faible/12-D-1-1.wav": ("12", "f", "disgusted"),
    },
    "esd": {
        "0001/Angry/0001_000351.wav": ("0001", "", "angry"),
        "0011/Surprise/train/0011_001401.wav": ("0011", "", "surprised"),
        "0012/Neutral/0012_000001.wav": ("0012", "", "neutral"),
    },
    "msp-podcast": {
        "Audios/MSP-PODCAST_0001_0008.wav": ("127", "m", "neutral"),
        "Audios/MSP-PODCAST_0001_0019.wav": ("", "f", "angry"),
        "Audios/MSP-PODCAST_0002_0033.wav": ("128", "f", "other"),
    },
}  # fmt: skip
TABLES = {
    "crema-d": {
        "VideoDemographics.csv": "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1002,21,Female,x,y\n"
    },
    "emozionalmente": {
        "emozionalmente_dataset/metadata/samples.csv": (
            "file_name,timestamp,actor,sentence,emotion_expressed\n"
            "1612872848291.wav,1,anna,s,joy\n1612872848292.wav,1,bruno,s,neutrality\n"
            "1612872848293.wav,1,carla,s,surprise\n../../secret.wav,1,carla,s,anger\n"
        ),
        "emozionalmente_dataset/metadata/users.csv": (
            "username,age,gender,mother_tongue\nanna,30,female,italian\nbruno,31,male,italian\ncarla,32,female,italian\n"
        ),
    },
    "msp-podcast": {
        "Labels/labels_consensus.csv": (
            "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
            "MSP-PODCAST_0001_0008.wav,N,4,4,4,127,Male,Train\n"
            "MSP-PODCAST_0001_0019.wav,A,4,4,4,Unknown,Female,Development\n"
            "MSP-PODCAST_0002_0033.wav,C,4,4,4,128,Female,Test1\n"
            "MSP-PODCAST_0003_0001.wav,X,4,4,4,129,Female,Train\n"
            "MSP-PODCAST_0004_0001.wav,,,,,,,Test3\n"
        )
    },
}


def as_published(name: str, folder: Path) -> Path:
    for file in FILES[name]:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(8000), 16000)
    for file, text in TABLES.get(name, {}).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_corpus_that_is_known_is_tried() -> None:
    assert set(FILES) == set(CORPORA)
    for corpus in CORPORA.values():
        assert set(corpus.labels.values()) <= set(LABELS)


@pytest.mark.parametrize("name", FILES)
def test_it_is_read_as_it_is_published(name: str, tmp_path: Path) -> None:
    folder = as_published(name, tmp_path / "corpus")
    told = write(tmp_path / "all", {name: folder})[name]
    rows = rows_of(tmp_path / "all")
    read = {
        str(Path(row["path"]).relative_to(folder)): (row["speaker"], row["gender"], row["emotion"])
        for row in rows
    }
    assert read == FILES[name]
    assert not told.strange and all(row["license"] == CORPORA[name].license for row in rows)
    assert {row["duration_s"] for row in rows} == {"0.500"}
    # `evaluate` reads it.
    assert len(dataset.read(tmp_path / "all", "all").clips) == len(rows)


def test_splits_of_its_own_stay_and_secrets_stay_secret(tmp_path: Path) -> None:
    told = write(tmp_path, {"msp-podcast": as_published("msp-podcast", tmp_path / "msp")})["msp-podcast"]
    assert [row["split"] for row in rows_of(tmp_path)] == ["train", "val", "test"]
    assert told.no_label == {"X": 1}


def test_languages_are_those_of_the_speakers(tmp_path: Path) -> None:
    write(tmp_path, {"esd": as_published("esd", tmp_path / "esd")})
    assert [row["language"] for row in rows_of(tmp_path)] == ["zh", "en", "en"]


def test_a_table_leads_nowhere_else(tmp_path: Path) -> None:
    folder = as_published("emozionalmente", tmp_path / "a" / "b")
    soundfile.write(tmp_path / "secret.wav", np.zeros(8000), 16000)
    soundfile.write(tmp_path / "a" / "secret.wav", np.zeros(8000), 16000)
    told = write(tmp_path / "out", {"emozionalmente": folder})["emozionalmente"]
    assert [path.name for path in told.broken] == ["secret.wav"]
    assert not any("secret" in row["path"] for row in rows_of(tmp_path / "out"))


def test_what_cannot_be_placed_or_heard_is_told(tmp_path: Path) -> None:
    folder = as_published("crema-d", tmp_path / "c")
    (folder / "AudioWAV" / "1004_IEO_HAP_LO.wav").write_bytes(b"no audio")
    (folder / "AudioWAV" / "1005_IEO_ODD_LO.wav").write_bytes(b"")
    soundfile.write(folder / "AudioWAV" / "take 1.wav", np.zeros(8000), 16000)
    told = write(tmp_path, {"crema-d": folder})["crema-d"]
    assert [path.name for path in told.broken] == ["1004_IEO_HAP_LO.wav"]
    assert [path.name for path in told.strange] == ["take 1.wav"] and told.no_label == {"ODD": 1}
    assert sum(told.splits.values()) == len(rows_of(tmp_path)) == 4


def test_another_corpus_is_added_and_the_same_one_replaced(tmp_path: Path) -> None:
    cafe, jl = (as_published(name, tmp_path / name) for name in ("cafe", "jl"))
    (tmp_path / "manifest.csv").write_text(
        "path,corpus,speaker,emotion,split,mine\na.wav,own,x,angry,train,1\n", encoding="utf-8"
    )
    write(tmp_path, {"cafe": cafe})
    write(tmp_path, {"jl": jl})
    write(tmp_path, {"cafe": cafe})
    rows = rows_of(tmp_path)
    assert [row["corpus"] for row in rows] == ["own", *["jl"] * 3, *["cafe"] * 3]
    assert rows[0]["mine"] == "1" and not Path(rows[1]["path"]).is_absolute()


@pytest.mark.parametrize("name", FILES)
def test_a_folder_of_something_else_is_refused_and_nothing_written(name: str, tmp_path: Path) -> None:
    other = as_published("jl" if name != "jl" else "cafe", tmp_path / "other")
    with pytest.raises(NotThisCorpus, match="other"):
        write(tmp_path / "out", {name: other})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 91])
def test_nobody_is_in_two_splits_and_women_and_men_are_in_each(n: int) -> None:
    speakers = [FoundRecording(Path("x"), f"{i:03}", "angry", "fm"[i % 2]) for i in range(n)] * 2
    splits = splits_of("any", speakers)
    assert splits == splits_of("any", speakers[::-1]) and set(splits) == {*(s.speaker for s in speakers), ""}
    counts = {
        name: sum(split == name for who, split in splits.items() if who) for name in ("train", "val", "test")
    }
    if n < 3:
        assert counts == {"train": n, "val": 0, "test": 0}
    else:
        assert counts["val"] >= 1 and counts["test"] >= 1 and counts["train"] >= n // 2
    if n >= 10:
        assert {int(who) % 2 for who, split in splits.items() if split == "test"} == {0, 1}


@pytest.mark.parametrize(
    ("name", "may"),
    [
        *[("CC0", True), ("CC BY 4.0", True), ("CC-BY-SA-4.0", True), ("MIT", True), ("Apache-2.0", True)],
        *[
            ("ODbL 1.0", True),
            ("CC BY-NC-SA 4.0", False),
            ("CC BY-NC-ND 4.0", False),
            ("CC BY-ND 3.0", False),
        ],
        *[("none stated, cite", False), ("for research only", False), ("", False), ("CC BY SA NC", False)],
    ],
)
def test_what_licenses_allow(name: str, may: bool) -> None:
    assert commercial(name) is may


def test_the_command(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["corpora"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0 and all(name in listed.output for name in CORPORA)
    free = CliRunner().invoke(app, ["corpora", "--licenses", "commercial"], env={"COLUMNS": "200"})
    assert "subesco" in free.output and "msp-podcast" not in free.output
    subesco = as_published("subesco", tmp_path / "s")
    done = CliRunner().invoke(app, ["corpora", "--add", f"subesco={subesco}", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and "subesco: " in done.output and "manifest.csv" in done.output
    assert len(rows_of(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--add", "subesco=/nowhere"], "--out"),
        (["--add", "subesco", "--out", "x"], "NAME=FOLDER"),
        (["--add", "savee=/data", "--out", "x"], "crema-d"),
        (["--add", "subesco=/nowhere", "--out", "x"], "/nowhere"),
        (["--add", "esd=/data", "--out", "x", "--licenses", "commercial"], "research only"),
    ],
)
def test_what_cannot_be_done_ends_it_with_words(arguments: list[str], word: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["corpora", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and word in done.output
