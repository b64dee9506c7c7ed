"""What is sent next, and when: rules without sockets; and audio → bytes."""

from __future__ import annotations

import array

import numpy as np
import pytest
from emotion_stream_client.audio import Format
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.recognition import AnswerReader
from emotion_stream_client.sending import BACKOFF_S, MAX_IN_FLIGHT, Message, Outbox, Sender
from hypothesis import given
from hypothesis import strategies as st

OK: dict[str, object] = {"ok": True}


class Receiver:
    """A server that takes numbered messages in order and once, as docs/protocol.md says."""

    def __init__(self) -> None:
        self.got = b""
        self.next_seq = 0

    def take(self, message: Message) -> dict[str, object]:
        if message.seq < self.next_seq:
            return {"ok": True, "duplicate": True}
        if message.seq > self.next_seq:
            return {"ok": False, "error": {"code": "BAD_REQUEST"}, "next_seq": self.next_seq}
        self.next_seq += 1
        self.got += message.data
        return OK


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=30),
    fates=st.lists(st.sampled_from(["ok", "ok", "ok", "limited", "broken", "unanswered"]), max_size=60),
)
def test_whatever_breaks_everything_arrives_once_and_in_order(pieces: list[bytes], fates: list[str]) -> None:
    sender, server, now = Sender(Outbox(10_000, True)), Receiver(), 0.0
    sender.begin(False, 0)
    waiting = list(pieces)
    fate = iter(fates)
    for _ in range(1000):
        if waiting:
            sender.outbox.push(waiting[0], 10 * len(waiting.pop(0)))
        now += 0.1
        if sender.wait(now) != 0:
            if not waiting and not sender.outbox:
                break
            continue
        message = sender.take(now)
        match next(fate, "ok"):
            case "limited":
                refusal = {"code": "RATE_LIMITED"}
                sender.answered(message, {"error": refusal, "next_seq": server.next_seq}, now)
                assert sender.wait(now) == pytest.approx(BACKOFF_S)
            case "broken":  # before the server got it
                sender.begin(True, server.next_seq)
            case "unanswered":  # the server got it, and the network broke
                server.take(message)
                sender.begin(True, server.next_seq)
            case _:
                sender.answered(message, server.take(message), now)
    assert server.got == b"".join(pieces)
    assert sender.outbox.ms == 0


def test_small_pieces_are_joined_and_few_are_in_flight() -> None:
    sender = Sender(Outbox(30_000, True))
    sender.begin(False, 0)
    for i in range(2000):
        sender.outbox.push(bytes([i % 256]), 5)
    now, sent = 0.0, []
    while sender.wait(now) == 0:
        sent.append(sender.take(now))
        now += 1
    assert len(sent) == MAX_IN_FLIGHT and {m.ms for m in sent} == {100}
    assert sender.outbox.ms == 10_000 and not sender.outbox.has_room(20_001)
    assert not sender.timed_out(9.9) and sender.timed_out(10.1)


def test_pieces_with_headers_are_not_joined() -> None:
    outbox = Outbox(1000, Format("wav", 16_000, 1).can_join)
    outbox.push(b"RIFF1", 5)
    outbox.push(b"RIFF2", 5)
    assert outbox.next().data == b"RIFF1"
    assert [*Format("wav", 16_000, 1).split(bytes(100_000))] == [bytes(100_000)]


def test_another_session_gets_what_the_last_one_did_not_acknowledge() -> None:
    sender = Sender(Outbox(1000, False))
    sender.begin(False, 0)
    for name in (b"a", b"b", b"c", b"d"):
        sender.outbox.push(name, 10)
    first = sender.take(0)
    sender.take(1)
    sender.take(2)
    sender.answered(first, OK, 3)
    sender.begin(False, 0)
    assert [(m.seq, m.data) for m in (sender.take(4), sender.take(5), sender.take(6))] == [
        (0, b"b"),
        (1, b"c"),
        (2, b"d"),
    ]


def test_samples_become_bytes_exactly() -> None:
    values = np.array([-32768, -1, 0, 1, 32767], np.int16)
    mono = Format("pcm_s16le", 16_000, 1)
    floats = values.astype(np.float32) / 32768
    for given_ in (values, floats, floats.astype(np.float64), floats.tolist(), array.array("f", floats)):
        assert mono.to_bytes(given_) == values.astype("<i2").tobytes()
    assert mono.to_bytes([2.0, -2.0]) == np.array([32767, -32768], "<i2").tobytes()
    assert Format("pcm_f32le", 16_000, 1).to_bytes([0.5]) == np.array([0.5], "<f4").tobytes()
    assert Format("pcm_s16le", 16_000, 2).to_bytes(np.array([[1, 2], [3, 4]], np.int16)) == bytes(
        [1, 0, 2, 0, 3, 0, 4, 0]
    )
    assert mono.bytes_per_ms == 32 and len(list(mono.split(bytes(70_000)))) == 3


@pytest.mark.parametrize(
    ("encoding", "audio"),
    [
        ("mulaw", [0.5]),
        ("pcm_s16le", "text"),
        ("pcm_s16le", np.zeros(3, np.int32)),
        ("pcm_s16le", np.zeros((3, 2), np.int16)),
        ("pcm_f32le", np.zeros(3, np.int16)),
        ("pcm_s16le", None),
    ],
)
def test_what_is_no_audio_is_said_to_be_none(encoding: str, audio: object) -> None:
    with pytest.raises(TypeError):
        Format(encoding, 16_000, 1).to_bytes(audio)


@given(st.lists(st.integers(1, 30), max_size=40))
def test_an_answer_is_read_however_it_is_cut(cuts: list[int]) -> None:
    steps: list[str] = []
    lines = (
        b'{"step": {"step": "\xc3\xa4\xe2\x80\xa8"}}\n\n{"progress": {"done_s": 1}}\n{"result": {"id": "x"}}'
    )
    answer = AnswerReader(200, lambda step: steps.append(step["step"]), None)
    at = 0
    for cut in [*cuts, len(lines)]:
        answer.feed(lines[at : at + cut])
        at += cut
    assert answer.result() == {"id": "x"} and steps == ["ä\u2028"]


@pytest.mark.parametrize(
    ("said", "code", "status"),
    [
        (b'{"error": {"code": "BUSY", "message": "m", "status": 429, "retry_after": 3}}\n', "BUSY", 429),
        (b'{"step": {}}\n', "PROTOCOL", 200),
        (b"<html>", "PROTOCOL", 200),
        (b"[1]\n", "PROTOCOL", 200),
    ],
)
def test_an_answer_without_a_result_is_an_error(said: bytes, code: str, status: int) -> None:
    answer = AnswerReader(200, None, None)
    with pytest.raises(EmotionError) as wrong:
        answer.feed(said)
        answer.result()
    assert (wrong.value.code, wrong.value.status) == (code, status)
    assert wrong.value.retry_after == (3 if code == "BUSY" else None)
