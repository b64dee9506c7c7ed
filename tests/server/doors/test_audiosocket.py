"""Calls from Asterisk's AudioSocket, byte by byte; and peers that only claim to be Asterisk."""

from __future__ import annotations

import random
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from server.doors.audiosocket import RATES
from tests.conftest import ROOT, Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, MODES, ROOMY, metrics, no_traceback, running
from tests.server.doors.lines import HANG_UP, SLIN, Line, calling, frame, phone, reporting, same, told
from tests.server.receivers import Receiver

TOKEN = "s3cret-of-the-operator"
NPM = ROOT / "node_modules" / "asterisk-audiosocket"


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def exchange(request: pytest.FixtureRequest, hook: Receiver) -> Iterator[Server]:
    """Its clients need a token; calls from this machine do not. What has no shape is given up within a second."""
    settings = {"server__token": TOKEN, "limits__head_timeout_s": 1, **ROOMY}
    with reporting(hook, server__async_mode=request.param, **calling(), **settings) as server:
        yield server
        no_traceback(server.log())
        assert TOKEN not in server.log()


def pcm_at(samples: np.ndarray, rate: int) -> bytes:
    """Four seconds at another rate; how they were resampled does not matter."""
    part = samples[2 * 16_000 : 6 * 16_000]
    at = np.arange(4 * rate) * (16_000 / rate)
    return bytes(np.rint(np.interp(at, np.arange(len(part)), part) * 32767).astype("<i2").tobytes())


def ended(server: Server) -> None:
    eventually(lambda: metrics(server)["emotion_sessions"] == 0, "no session is left")
    eventually(lambda: metrics(server)["emotion_connections"] == 0, "nor a connection")


@pytest.mark.parametrize("rate", SLIN)
def test_a_call_scores_as_the_same_samples_do_over_socket_io(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, rate: int
) -> None:
    assert RATES[SLIN[rate]] == rate
    pcm = pcm_at(demo_samples, rate)
    line = Line(phone(exchange)).hello()
    line.speak(pcm, rate)
    line.say(HANG_UP)
    assert line.rest() == HANG_UP
    io = Client(exchange.url, auth={"token": TOKEN})
    session_id = io.start(encoding="pcm_s16le", sample_rate=rate)["session_id"]
    io.speak(pcm)
    io.stop()
    io.close()
    utterances, summary = told(hook, line.uuid)
    same(utterances, told(hook, session_id)[0], 1e-5)
    assert summary["reason"] == "stop" and summary["audio_ms"] == pytest.approx(4_000, abs=1)


@pytest.mark.parametrize("seed", range(3))
def test_how_bytes_come_changes_nothing(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, seed: int
) -> None:
    """Frames of any length, half samples too, in segments of any length."""
    dice, pcm = random.Random(seed), pcm_at(demo_samples, 16_000)
    whole, cut = Line(phone(exchange)).hello(), Line(phone(exchange))
    whole.speak(pcm, 16_000)
    whole.close()  # as good as a hang-up
    stream, at = frame(0x01, uuid.UUID(cut.uuid).bytes), 0
    while at < len(pcm):
        size = dice.choice([0, 1, 3, 640, 9_999, 65_535])
        stream += frame(0x12, pcm[at : at + size]) + (frame(0x03, b"7") if dice.random() < 0.1 else b"")
        at += size
    while stream:
        size = dice.choice([1, 2, 3, 100, 5_000, 50_000])
        cut.say(stream[:size])
        stream = stream[size:]
    cut.close()
    utterances, summary = told(hook, cut.uuid)
    same(utterances, told(hook, whole.uuid)[0], 0)
    assert summary["reason"] == "stop" and summary["audio_ms"] == 4_000


@pytest.mark.skipif(
    not NPM.exists() or shutil.which("node") is None, reason="npm's asterisk-audiosocket: npm ci"
)
def test_a_peer_that_others_have_written_is_understood_and_understands(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, tmp_path: Path
) -> None:
    """npm's asterisk-audiosocket makes the frames, paces them, and reads what comes back."""
    pcm, call = pcm_at(demo_samples, 8_000), str(uuid.uuid4())
    (tmp_path / "call.raw").write_bytes(pcm)
    code = f"""
        import net from "node:net"; import fs from "node:fs";
        import {{ AudioSocketConnection, FrameType, encodeFrame, encodeHangup }} from "{NPM}/dist/index.js";
        const socket = net.connect({phone(exchange)}, "127.0.0.1");
        const call = new AudioSocketConnection(socket);
        call.on("hangup", () => console.log("hangup"));
        socket.write(encodeFrame(FrameType.UUID, Buffer.from("{call.replace("-", "")}", "hex")));
        await call.play(fs.readFileSync("{tmp_path}/call.raw"));
        socket.write(encodeHangup());
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout == "hangup\n", done.stderr
    line = Line(phone(exchange)).hello()
    line.speak(pcm)
    line.close()
    same(told(hook, call)[0], told(hook, line.uuid)[0], 0)


MALFORMED = {
    "audio first": frame(0x10, bytes(320)),
    "a UUID that is short": frame(0x01, bytes(15)),
    "a UUID that is long": frame(0x01, bytes(17)),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a hang-up first": HANG_UP,
}
WITHIN = {
    "another UUID": frame(0x01, bytes(16)),
    "a kind that is none": frame(0x19, bytes(320)),
    "a kind of no audio": frame(0x02),
}


@pytest.mark.parametrize("said", [*MALFORMED.values(), *WITHIN.values()], ids=[*MALFORMED, *WITHIN])
def test_what_is_no_audiosocket_is_cut_off_and_counted(exchange: Server, said: bytes) -> None:
    name = 'emotion_connections_cut_total{reason="malformed"}'
    before = metrics(exchange)[name]
    line = Line(phone(exchange))
    if said in WITHIN.values():
        line.hello().speak(bytes(3_200))
    line.say(said)
    assert line.rest() == b""
    eventually(lambda: metrics(exchange)[name] == before + 1, "it is counted")
    ended(exchange)


SLOW = {
    "nothing": b"",
    "half a head": b"\x01",
    "half a UUID": frame(0x01, bytes(16))[:10],
    "a frame that never ends": frame(0x01, uuid.uuid4().bytes) + b"\x10\xff\xff" + bytes(100),
    "half a head later": frame(0x01, uuid.uuid4().bytes) + b"\x10",
}


@pytest.mark.parametrize("said", SLOW.values(), ids=SLOW)
def test_what_has_begun_has_to_end_in_time(exchange: Server, said: bytes) -> None:
    name = 'emotion_connections_cut_total{reason="slow"}'
    before = metrics(exchange)[name]
    line = Line(phone(exchange))
    line.say(said)
    assert line.rest() == b""
    eventually(lambda: metrics(exchange)[name] == before + 1, "it is counted")
    ended(exchange)


def test_keys_mean_nothing_and_an_error_ends_the_call(exchange: Server, hook: Receiver) -> None:
    line = Line(phone(exchange)).hello()
    for number in range(5):
        line.speak(bytes(320))
        line.say(frame(0x03, b"%d" % number))
    line.speak(bytes(640), 16_000)  # another rate, as after a change of the channel's format
    line.say(frame(0xFF, b"\x02"))
    assert line.rest() == HANG_UP
    assert told(hook, line.uuid)[1]["audio_ms"] == pytest.approx(120, abs=5)


def test_a_call_that_is_cut_off_leaves_nothing_behind(exchange: Server, hook: Receiver) -> None:
    process = psutil.Process(exchange.process.pid)
    ended(exchange)
    threads = process.num_threads()
    lines = [Line(phone(exchange)).hello() for _ in range(20)]
    for line in lines:
        line.speak(bytes(3_200))
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 20, "they are there")
    for line in lines:
        line.say(b"\x10\x01\x40" + bytes(10))  # within a frame
        line.close()
    ended(exchange)
    assert told(hook, lines[0].uuid)[1]["reason"] == "disconnect"
    eventually(lambda: process.num_threads() <= threads + 2, "and their threads have ended")


def test_a_name_that_is_taken_is_hung_up_and_hurts_nobody(exchange: Server, hook: Receiver) -> None:
    one, two = Line(phone(exchange)).hello(), Line(phone(exchange))
    one.speak(bytes(320))
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 1, "the first is there")
    two.uuid = one.uuid
    assert two.hello().rest() == HANG_UP
    one.speak(bytes(320))
    one.close()
    assert told(hook, one.uuid)[1]["audio_ms"] == 40


def test_strange_bytes_hurt_nobody(exchange: Server, hook: Receiver, demo_samples: np.ndarray) -> None:
    """Each ends in a closed connection; somebody else speaks all the while."""
    dice, speaker, pcm = random.Random(5), Line(phone(exchange)).hello(), pcm_at(demo_samples, 8_000)
    for round_ in range(50):
        line = Line(phone(exchange))
        said = bytearray(frame(0x01, uuid.uuid4().bytes) + frame(0x10, bytes(320)) * 3 + frame(0x03, b"1"))
        for _ in range(dice.randint(0, 4)):
            said[dice.randrange(len(said))] = dice.randrange(256)
        try:
            line.say(bytes(said))
        finally:
            line.close()
        speaker.speak(pcm[round_ * 1_280 : (round_ + 1) * 1_280])
    speaker.close()
    assert told(hook, speaker.uuid)[1]["audio_ms"] == 4_000
    ended(exchange)


def test_who_sends_without_a_pause_keeps_nobody_waiting(hook: Receiver, demo_samples: np.ndarray) -> None:
    """Ten minutes at once: what is ahead of real time waits with its sender, and others are served meanwhile."""
    with reporting(hook, model__name="fake", **calling()) as server:
        hasty, other = Line(phone(server)).hello(), Line(phone(server)).hello()
        hasty.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            hasty.speak(bytes(2 * 8_000 * 600), size=64_000)
        other.speak(pcm_at(demo_samples, 8_000))
        other.close()
        assert told(hook, other.uuid)[1]["audio_ms"] == 4_000
        hasty.close()
        no_traceback(server.log())


def test_calls_come_from_the_networks_that_may(exchange: Server) -> None:
    settings = calling(doors__audiosocket_from="10.0.0.0/8, 192.168.0.1")
    with running(model__name="fake", **settings) as server:
        line = Line(phone(server)).hello()
        assert line.rest() == HANG_UP
        assert metrics(server)['emotion_errors_total{code="UNAUTHORIZED"}'] == 1
        assert metrics(server)['emotion_door_connections_total{door="audiosocket"}'] == 0
        no_traceback(server.log())


def test_calls_count_as_sessions_connections_and_sockets() -> None:
    limits = {"limits__max_sessions": 1, "limits__max_connections": 2, "limits__sockets_per_peer": 8}
    with running(model__name="fake", **calling(), **limits) as server:
        one, two = Line(phone(server)).hello(), Line(phone(server))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the first is there")
        assert two.hello().rest() == HANG_UP, "one session"
        mute = [Line(phone(server)) for _ in range(8)]
        assert mute[-1].rest() == b"", "eight sockets of one address"
        for line in (one, two, *mute):
            line.close()
        no_traceback(server.log())


@pytest.mark.parametrize("mode", MODES)
def test_a_peer_that_falls_silent_is_forgotten(mode: str, hook: Receiver) -> None:
    """Half open: neither a byte nor a word that it has gone."""
    settings = {"server__async_mode": mode, "limits__idle_timeout_s": 2}
    with reporting(hook, model__name="fake", **calling(), **settings) as server:
        line = Line(phone(server)).hello()
        line.speak(bytes(320))
        assert told(hook, line.uuid)[1]["reason"] in ("idle", "disconnect")
        line.rest()
        ended(server)
        no_traceback(server.log())


def test_one_voice_that_may_be_either_is_not_heard_where_the_policy_says_so() -> None:
    with running(model__name="fake", policy__watch="customer", **calling()) as server:
        assert Line(phone(server)).hello().rest() == HANG_UP
        no_traceback(server.log())
    with running(model__name="fake", policy__watch="customer", policy__mono="allow", **calling()) as server:
        line = Line(phone(server)).hello()
        line.speak(bytes(320))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "it is heard")
        line.close()
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_calls_end_with_the_server_and_the_dialplan_goes_on(mode: str, hook: Receiver) -> None:
    with reporting(hook, model__name="fake", server__async_mode=mode, **calling()) as server:
        line = Line(phone(server)).hello()
        line.speak(bytes(3_200))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the call is there")
        assert server.stop() == 0
        assert line.rest() == HANG_UP
        assert told(hook, line.uuid)[1]["reason"] == "shutdown"
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_all_workers_take_calls(mode: str, hook: Receiver) -> None:
    settings = {"server__workers": 2, "server__async_mode": mode}
    with reporting(hook, model__name="fake", **calling(), **settings) as server:
        lines = [Line(phone(server)).hello() for _ in range(6)]
        for line in lines:
            line.speak(bytes(3_200))
        eventually(lambda: metrics(server)["emotion_sessions"] == 6, "all are there")
        for line in lines:
            line.close()
        for line in lines:
            assert told(hook, line.uuid)[1]["audio_ms"] == 200
        no_traceback(server.log())


def test_a_port_that_is_taken_stops_the_server_with_its_address(exchange: Server) -> None:
    port = phone(exchange)
    with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port}"):
        Server(model__name="fake", doors__audiosocket_port=port)
