"""`hub.unmask` against RFC 6455, 5.3, read aloud byte by byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.hub import unmask


def by_hand(data: bytes, mask: bytes, offset: int = 0) -> bytes:
    return bytes(byte ^ mask[(i + offset) % 4] for i, byte in enumerate(data))


masks = st.binary(min_size=4, max_size=4)


@given(st.binary(max_size=300), masks, st.integers(0, 2**40))
def test_any_payload_at_any_offset(data: bytes, mask: bytes, offset: int) -> None:
    assert unmask(data, mask, offset=offset) == by_hand(data, mask, offset)


@given(st.binary(max_size=300), masks, st.integers(0, 300), st.integers(0, 7))
def test_only_so_many_bytes_of_it(data: bytes, mask: bytes, length: int, offset: int) -> None:
    length = min(length, len(data))
    assert unmask(data, mask, length, offset) == by_hand(data[:length], mask, offset)


@given(st.lists(st.binary(max_size=50), max_size=6), masks)
def test_in_pieces_as_it_arrives(pieces: list[bytes], mask: bytes) -> None:
    at, out = 0, b""
    for piece in pieces:
        out += unmask(piece, mask, length=len(piece), offset=at)
        at += len(piece)
    assert out == by_hand(b"".join(pieces), mask)


@given(st.binary(max_size=64), masks)
def test_whatever_holds_the_bytes(data: bytes, mask: bytes) -> None:
    expected = by_hand(data, mask)
    for kind in (bytes, bytearray, memoryview):
        given_as = unmask(kind(data), kind(mask))  # type: ignore[arg-type]  # eventlet gives any of them
        assert type(given_as) is bytes and given_as == expected


@given(st.binary(max_size=100), masks)
def test_twice_gives_it_back(data: bytes, mask: bytes) -> None:
    assert unmask(unmask(data, mask), mask) == data


def test_a_large_payload_of_an_odd_length() -> None:
    data = bytes(range(256)) * 4096 + b"xyz"
    assert unmask(data, b"\x01\x80\xff\x00", offset=3) == by_hand(data, b"\x01\x80\xff\x00", 3)
