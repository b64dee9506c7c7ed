"""Where a session's bytes go: to the codec or to a decoder of containers, by how they begin and nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest

from stream.source import StreamSource
from tests.stream.test_containers import KINDS, encoded

WAV = b"RIFF\x24\x10\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\x10\0\0"


def sorted_all(
    source: StreamSource, chunks: list[bytes]
) -> tuple[StreamSource, list[tuple[str, str | None, bytes]]]:
    """Each chunk in order: what became of it, what begins with it, and its bytes."""
    told: list[tuple[str, str | None, bytes]] = []
    for data in chunks:
        chunk = source.sort(data)
        source = chunk.after
        told.append((chunk.kind, chunk.begins, chunk.data))
    return source, told


def cut(data: bytes, longest: int, seed: int) -> list[bytes]:
    dice, pieces = random.Random(seed), []
    while data:
        n = dice.randint(1, longest)
        pieces.append(data[:n])
        data = data[n:]
    return pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("longest", [1, 5, 64, 800, 5000])
def test_every_byte_of_a_container_goes_to_its_decoder_however_it_is_cut(kind: str, longest: int) -> None:
    data = encoded(*KINDS[kind])
    _, told = sorted_all(StreamSource("auto"), cut(data, longest, longest))
    assert {state for state, _, _ in told} <= {"held", "container"}
    assert b"".join(raw for _, _, raw in told) == data
    assert [begins for _, begins, _ in told if begins] == [kind]


@pytest.mark.parametrize("declared", ["auto", "pcm_s16le", "mulaw"])
@pytest.mark.parametrize("longest", [1, 3, 3200])
def test_every_byte_of_samples_goes_to_the_codec(declared: str, longest: int) -> None:
    data = np.random.default_rng(longest).integers(-3, 4, 20_000).astype("<i2").tobytes()
    _, told = sorted_all(StreamSource(declared), cut(data, longest, longest))
    assert {state for state, _, _ in told} <= {"held", "samples"}
    assert b"".join(raw for _, _, raw in told) == data


@pytest.mark.parametrize("declared", ["auto", "pcm_s16le", "mulaw", "alaw"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_has_begun_as_samples_stays_so_whatever_a_chunk_looks_like(declared: str, kind: str) -> None:
    _, told = sorted_all(StreamSource(declared), [bytes(3200), encoded(*KINDS[kind])[:3000]])
    assert [state for state, _, _ in told] == ["samples", "samples"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_where_samples_were_declared_is_refused_until_a_wav_begins(kind: str) -> None:
    data = encoded(*KINDS[kind])
    source, told = sorted_all(StreamSource("pcm_s16le"), [*cut(data, 3000, 1), data])
    assert {state for state, _, _ in told} <= {"held", "refused"} and not any(raw for _, _, raw in told)
    assert source.refused.lower() == kind
    _, told = sorted_all(source, [WAV, bytes(3200)])
    assert [state for state, _, _ in told] == ["samples", "samples"]


@pytest.mark.parametrize("kind", ["webm", "ogg", "flac", "mp4"])
def test_where_one_container_goes_on_another_may_begin(kind: str) -> None:
    data = encoded(*KINDS[kind])
    source, told = sorted_all(StreamSource("auto"), [data[:3000], data[3000:4000], data, WAV])
    assert [begins for _, begins, _ in told] == [kind, None, kind, "wav"], (
        "its decoder reads a WAV in its turn"
    )
    _, told = sorted_all(source.broken(), [data[3000:4000], data, data[3000:4000]])
    assert [(state, begins) for state, begins, _ in told] == [
        ("refused", None),
        ("container", kind),
        ("container", None),
    ]


def test_a_declared_container_is_not_looked_at() -> None:
    _, told = sorted_all(StreamSource("aac"), [b"anything"])
    assert told == [("container", "aac", b"anything")]
