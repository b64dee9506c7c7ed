"""Manifests and folders as people write them, and what they are told when these cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.dataset import BadDataset, Dataset, read
from stream.types import LABELS

HEAD = "path,corpus,language,speaker,gender,emotion,split\n"


def manifest(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    """Writes it, and an empty file for each path in it."""
    lines = text.splitlines()
    at = lines[0].lstrip("\ufeff").split(",").index("path") if "path" in lines[0] else None
    for line in lines[1:]:
        if at is not None and line.split(",")[at]:
            file = folder / line.split(",")[at]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def refused(path: Path, **options: object) -> str:
    with pytest.raises(BadDataset) as wrong:
        read(path, **options)  # type: ignore[arg-type]
    return str(wrong.value)


FULL = (
    HEAD
    + "a/1.wav,one,de,s1,f,angry,test\n"
    + "a/2.wav,one,de,s2,m,sad,test\n"
    + "a/3.wav,one,de,s3,m,happy,train\n"
    + "b/1.wav,two,en,-,m,Neutral,test\n"
    + "b/2.wav,two,en,unknown,m,unknown,val\n"
    + "b/3.wav,two,en,,m,joy,cross\n"
)


def test_a_manifest(tmp_path: Path) -> None:
    found = read(manifest(tmp_path, FULL))
    assert found.split == "test"
    assert [clip.name for clip in found.clips] == ["a/1.wav", "a/2.wav", "b/1.wav"]
    assert [clip.speaker for clip in found.clips] == ["s1", "s2", ""]
    assert [LABELS[clip.label] for clip in found.clips] == ["angry", "sad", "neutral"]
    assert found.clips[0].path == tmp_path / "a/1.wav"
    assert found.clips[0].language == "de"
    # The labels that a corpus has, in whichever split.
    assert {c: [LABELS[i] for i in labels] for c, labels in found.labels.items()} == {
        "one": ["angry", "happy", "sad"],
        "two": ["neutral", "unknown"],
    }
    assert read(tmp_path).clips == found.clips, "the folder of a manifest"


def test_splits_and_corpora(tmp_path: Path) -> None:
    path = manifest(tmp_path, FULL)
    assert [clip.name for clip in read(path, "val").clips] == ["b/2.wav"]
    assert len(read(path, "all", ["one"]).clips) == 3
    assert "no clips of split 'dev'" in refused(path, split="dev")
    assert "splits cross, test, train, val" in refused(path, split="dev")
    assert "corpora one, two" in refused(path, corpora=["three"])
    assert refused(path, corpora=["one", "three"])


def test_only_path_and_emotion_are_needed(tmp_path: Path) -> None:
    found = read(manifest(tmp_path, "\ufeffemotion,path\nangry,1.wav\nsad,2.wav\n"))
    assert found.split == "all"
    assert {clip.corpus for clip in found.clips} == {tmp_path.name}
    assert {clip.speaker for clip in found.clips} == {""}
    text = refused(manifest(tmp_path, "file,emotion\n1.wav,sad\n"))
    assert "no column path" in text
    assert "file, emotion" in text
    assert "path and emotion" in refused(manifest(tmp_path, "\n"))
    assert "no rows" in refused(manifest(tmp_path, HEAD))


def test_unknown_labels_are_named_with_their_rows_and_the_nine(tmp_path: Path) -> None:
    text = refused(manifest(tmp_path, FULL), split="all")
    assert "line 7 (joy)" in text
    assert all(label in text for label in LABELS)
    many = "path,emotion\n" + "".join(f"{i}.wav,anger\n" for i in range(20))
    text = refused(manifest(tmp_path, many))
    assert "20 rows" in text
    assert "line 9 (anger) and 12 more" in text
    assert "line 2 (empty)" in refused(manifest(tmp_path, "path,emotion\n1.wav\n"))


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "nowhere")
    path = manifest(tmp_path, "path,emotion\n1.wav,sad\n2.wav,sad\n")
    (tmp_path / "2.wav").unlink()
    text = refused(path)
    assert "1 of 2 files are not there: 2.wav" in text
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00path")
    assert "not a CSV file" in refused(tmp_path / "binary.csv")


def test_a_folder_per_label(tmp_path: Path) -> None:
    for name in ("Angry/x.wav", "sad/anna/1.flac", "sad/anna/more/2.ogg", "sad/bert/1.wav", "sad/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".cache").mkdir()
    found = read(tmp_path)
    assert [(clip.name, clip.speaker, LABELS[clip.label]) for clip in found.clips] == [
        ("Angry/x.wav", "", "angry"),
        ("sad/anna/1.flac", "anna", "sad"),
        ("sad/anna/more/2.ogg", "anna", "sad"),
        ("sad/bert/1.wav", "bert", "sad"),
    ]
    assert found.split == "all"
    (tmp_path / "joyful").mkdir()
    text = refused(tmp_path)
    assert "joyful" in text
    assert "fearful" in text


def test_folders_without_anything(tmp_path: Path) -> None:
    assert "sub-folders named by label" in refused(tmp_path)
    (tmp_path / "sad").mkdir()
    assert "no recordings there" in refused(tmp_path)


def many(tmp_path: Path) -> Path:
    rows = [f"{c}/{i}.wav,{c},{LABELS[i % 3 if i < 60 else 0]}" for c in ("one", "two") for i in range(100)]
    return manifest(tmp_path, "path,corpus,emotion\n" + "\n".join(rows) + "\n")


def counts(found: Dataset) -> dict[tuple[str, int], int]:
    keys = [(clip.corpus, clip.label) for clip in found.clips]
    return {key: keys.count(key) for key in keys}


def test_a_limit_takes_evenly_by_label_and_is_seeded(tmp_path: Path) -> None:
    path = many(tmp_path)
    first = read(path, limit=12)
    assert counts(first) == {(c, label): 4 for c in ("one", "two") for label in range(3)}
    assert read(path, limit=12).clips == first.clips
    assert read(path, limit=12, seed=1).clips != first.clips
    assert read(path, limit=12, corpora=["one"]).clips == [c for c in first.clips if c.corpus == "one"]
    assert len(read(path, limit=70, corpora=["one"]).clips) == 70
    assert len(read(path, limit=1000).clips) == 200
