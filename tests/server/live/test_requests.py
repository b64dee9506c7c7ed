"""Payloads that come in: read, or refused with a code."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import CODES, ClientError
from server.live.requests import parse_audio, parse_session_id, parse_start

LARGEST = 1000

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "session_id",
        "encoding",
        "sample_rate",
        "channels",
        "frame_results",
        "resume_token",
        "name",
        "tags",
        "chunk",
        "seq",
        "x",
    ]
)
nearly_right = st.dictionaries(
    fields,
    anything | st.sampled_from(["wav", "pcm_s16le", "mulaw", "an-id", "AAAA", 8000, 16_000, 1, 2, True]),
    max_size=5,
)


@given(anything | nearly_right)
def test_any_payload_is_read_or_refused_with_a_code(payload: Any) -> None:
    for parse in (
        parse_start,
        lambda p: parse_audio(p).data(LARGEST),
        parse_session_id,
    ):
        try:
            parse(payload)
        except ClientError as refused:
            assert refused.code in CODES and 0 < len(refused.message) < 400


def test_nothing_given_means_the_defaults() -> None:
    for payload in (None, {}, dict.fromkeys(("session_id", "encoding", "sample_rate", "channels"))):
        request = parse_start(payload)
        assert (request.format.encoding, request.format.sample_rate, request.format.channels) == (
            "auto",
            16_000,
            1,
        )
        assert request.session_id is None and not request.frame_results and request.resume_token is None


@given(st.binary(max_size=LARGEST))
def test_base64_and_bytes_give_the_same_chunk(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert parse_audio({"chunk": text}).data(LARGEST) == data
    assert parse_audio({"chunk": data}).data(LARGEST) == data


@given(st.integers(LARGEST - 4, LARGEST + 4))
def test_the_limit_is_exact_whichever_way_the_chunk_comes(size: int) -> None:
    for chunk in (b"\0" * size, base64.b64encode(b"\0" * size).decode()):
        if size <= LARGEST:
            assert len(parse_audio({"chunk": chunk}).data(LARGEST)) == size
        else:
            with pytest.raises(ClientError) as refused:
                parse_audio({"chunk": chunk}).data(LARGEST)
            assert refused.value.code == "CHUNK_TOO_LARGE"


@given(st.text(max_size=70))
def test_ids_are_plain_names(name: str) -> None:
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
    good = 0 < len(name) <= 64 and set(name) <= set(plain) and set(name) - set("-_.")
    if good:
        assert parse_session_id({"session_id": name}) == name
    else:
        with pytest.raises(ClientError):
            parse_session_id({"session_id": name})
