"""embedding.npy from anybody: what cannot be used is refused with its reason, and nothing in it is run."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.embedding import BadEmbedding, load


def npy(array: np.ndarray, **options: bool) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    body = text.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(body)) + body


GOOD = np.linspace(-1, 1, 518, dtype=np.float32)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", GOOD)
    assert np.array_equal(load(tmp_path / "e.npy"), GOOD)


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"not numpy at all", "not a NumPy .npy file"),
        (b"PK\x03\x04" + bytes(100), "not a NumPy .npy file"),
        (npy(np.array([Trap()], object), allow_pickle=True), "Python objects"),
        (npy(np.ones((3, 4), np.float32)), r"shape \(3, 4\) \(a row per frame\?\); an embedding is 1-D"),
        (npy(np.ones(8)), "holds float64; an embedding is float32"),
        (npy(np.ones(8, np.int32)), "holds int32"),
        (npy(np.array([1, np.nan], np.float32)), "not finite"),
        (npy(np.array([1, np.inf], np.float32)), "not finite"),
        (npy(np.zeros(8, np.float32)), "zeros only"),
        (npy(np.empty(0, np.float32)), "claims 0 numbers"),
        (npy(GOOD)[:-5], "claims 518 numbers and holds 516.75"),
        (npy(GOOD) + b"more", "claims 518 numbers and holds 519"),
        (
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
            "1 to 65,536 are read",
        ),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }"), "1 to 65,536 are read"),
        (header("__import__('os').mkdir('trapped')"), "header cannot be read"),
        (header("(" * 5000), "header cannot be read"),
        (header("{}", b"\x03\x00"), "version 3.0"),
        (bytes(400_000), "too large"),
    ],
)
def test_what_is_no_embedding_says_why(
    data: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.npy").write_bytes(data)
    with pytest.raises(BadEmbedding, match=said):
        load(tmp_path / "e.npy")
    assert not (tmp_path / "trapped").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "e.npy")
    with pytest.raises(BadEmbedding, match="not a file"):
        load(tmp_path / "e.npy")


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 140), byte=st.integers(0, 255), cut=st.integers(0, 2200))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: int
) -> None:
    data = bytearray(npy(GOOD))
    data[at] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    path.write_bytes(bytes(data[: len(data) - cut]))
    try:
        assert load(path).ndim == 1
    except BadEmbedding as wrong:
        assert str(wrong)
