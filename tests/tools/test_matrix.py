"""The matrix of all embeddings below a folder: read once, true after every change, and never half of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.storage import OutputStore
from tests.conftest import ROOT
from tests.tools.conftest import Make, embeddings, result
from tools import embedding, matrix, similar
from tools.vectors import BLOCK, blocks, vectors


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The embeddings that are read meanwhile, by the folder they lie in."""
    read: list[str] = []
    load = embedding.load

    def told(path: Path) -> Any:
        read.append(path.parent.name)
        return load(path)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "load", told)
        yield read


def names(top: Path) -> list[str]:
    return [record.id for record in vectors(top).records]


def test_each_embedding_is_read_once_and_again_only_when_it_changes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make(6)
    with counted(monkeypatch) as read:
        first = vectors(top)
        assert len(read) == 6
        again = vectors(top)
        assert len(read) == 6 and np.array_equal(first.rows, again.rows)
        shutil.rmtree(top / "outputs_0001")
        make(1, "results/new")
        changed = top / "outputs_0004"
        np.save(changed / "embedding.npy", np.arange(24, dtype=np.float32))
        os.utime(changed / "embedding.npy", ns=(1, 1))  # a clock that stands still would hide it
        (top / "outputs_0005" / "result.json").write_text(json.dumps(result(8, file_name="renamed.wav")))
        read.clear()
        held = vectors(top)
        assert sorted(read) == ["outputs_0000", "outputs_0004", "outputs_0005"]
    assert [one.id for one in held.records] == [
        *("new/outputs_0000", "outputs_0000", "outputs_0002", "outputs_0003", "outputs_0004", "outputs_0005")
    ]
    for record, row in zip(held.records, held.rows, strict=True):
        assert record.embedding is not None and np.array_equal(
            row, np.load(record.embedding, allow_pickle=False)
        )
    assert held.records[5].name == "renamed.wav (outputs_0005)" and held.records[5].emotion == "unknown"
    assert not first.rows.flags.writeable and first.rows[1, 0] == embeddings(2)[1, 0], (
        "those who look at the old one"
    )


def test_a_record_from_the_index_is_the_record_of_the_file(make: Make) -> None:
    from tools import folder

    top = make(3, taught={"name": "n", "label": "重"}, recorded_utc="2026-01-01T00:00:00+00:00")
    vectors(top)
    for kept, told in zip(vectors(top).records, folder.read(top).records, strict=True):
        assert {**vars(kept), "scores": 0} == {**vars(told), "scores": 0}
        assert np.array_equal(kept.scores, told.scores)


def test_what_is_broken_is_told_every_time_and_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make(4)
    (top / "outputs_0000" / "result.json").write_text("{")
    (top / "outputs_0001" / "embedding.npy").write_bytes(b"\x80\x04")
    np.save(top / "outputs_0002" / "embedding.npy", np.ones(3, np.float32))
    make(2, "results/more")
    with counted(monkeypatch) as read:
        for _ in range(2):
            said = {one.name: one.why for one in vectors(top).broken}
            assert "not JSON" in said["outputs_0000"] and "not a NumPy" in said["outputs_0001/embedding.npy"]
            assert "3 numbers, where others of compact have 24" in said["outputs_0002/embedding.npy"]
        assert len(read) == 5


@pytest.mark.parametrize("harm", ["cut", "empty", "index", "other"])
def test_a_damaged_matrix_is_made_anew(make: Make, harm: str) -> None:
    top = make(5)
    before = np.array(vectors(top).rows)
    current = top / ".embeddings" / "current"
    file = current / "0.npy"
    if harm == "index":
        lines = (current / "index.jsonl").read_bytes().splitlines()
        (current / "index.jsonl").write_bytes(b"\n".join(lines[:3]))
    elif harm == "other":
        np.save(file, np.zeros((5, 24), object), allow_pickle=True)
    else:
        file.write_bytes(file.read_bytes()[: 200 if harm == "cut" else 0])
    assert np.array_equal(vectors(top).rows, before)


def test_a_build_that_is_broken_off_leaves_what_was_there(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make(3)
    assert len(names(top)) == 3
    make(2, "results/more")

    def broken_off(what: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vectors(top, progress=broken_off)
    assert sorted(p.name for p in (top / ".embeddings").iterdir()) == ["current", "lock"]
    assert len(names(top)) == 5


SLOWLY = """
import sys, time
from pathlib import Path
from tools.vectors import vectors
print(len(vectors(Path(sys.argv[1]), progress=lambda *_: time.sleep(0.02)).rows))
"""


def test_two_tools_at_once_wait_for_each_other(make: Make) -> None:
    top = make(40)
    run = [sys.executable, "-c", SLOWLY, str(top)]
    both = [subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [one.communicate(timeout=100) for one in both]
    assert [out for out, _ in said] == [b"40\n"] * 2, said
    assert sorted(p.name for p in (top / ".embeddings").iterdir()) == ["current", "lock"]


def test_where_the_folder_cannot_be_written_it_is_in_the_users_cache(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make(3)
    (top / ".embeddings").write_text("in the way, as a file system is that can only be read")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(names(top)) == 3
    (kept,) = (tmp_path / "cache" / "emotion-stream" / "embeddings").iterdir()
    assert (kept / "current" / "0.npy").exists() and kept.stat().st_mode & 0o77 == 0
    with counted(monkeypatch) as read:
        assert len(names(top)) == 3 and not read
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no")
    held = vectors(top)
    assert len(held.rows) == 3 and np.isfinite(held.rows).all()


def test_nothing_of_a_result_stays_when_the_server_removes_it(make: Make) -> None:
    top = make(2)
    (top / "outputs_0000").rename(top / "outputs_20260101_000000")
    assert len(names(top)) == 2
    store = OutputStore(top, keep_days=1, keep_gb=1)
    assert (top / ".embeddings").exists() and store.sweep() == 0
    assert (top / ".embeddings").exists() and store.delete("outputs_20260101_000000")
    assert not (top / ".embeddings").exists()
    assert names(top) == ["outputs_0001"]


def test_blocks_are_all_of_it_and_cosines_do_not_depend_on_them(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(3 * BLOCK + 5, dtype=np.float32)[:, None]
    assert np.array_equal(np.concatenate([block for _, block in blocks(rows)]), rows)
    held = vectors(make(30))
    query = np.array(held.rows[3])
    plain = [similar.nearest(query, held, 30, center, 3) for center in (False, True)]
    monkeypatch.setattr("tools.vectors.BLOCK", 7)
    for center, before in enumerate(plain):
        after = similar.nearest(query, held, 30, bool(center), 3)
        assert [m.record.id for m in after] == [m.record.id for m in before]
        assert [m.cosine for m in after] == pytest.approx([m.cosine for m in before], abs=1e-9)
        assert "outputs_0003" not in {m.record.id for m in after}


def test_the_index_is_read_without_trust(make: Make) -> None:
    top = make(3)
    vectors(top)
    index = top / ".embeddings" / "current" / "index.jsonl"
    index.write_bytes(index.read_bytes().replace(b'"0.npy"', b'"../../outputs_0000/embedding.npy"'))
    assert vectors(top).rows.shape == (3, 24)
    assert matrix.FORMAT == 1
