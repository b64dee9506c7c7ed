"""N paced clients in one event loop: each sends on its own absolute schedule and counts what comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.links import LightLink, Link, RealLink
from bench.speech import RATE, SpokenChunks
from bench.tally import Tally, last_sample

RAMP_S = 1.0  # the starts are spread over this long
SETTLE_S = 1.0  # the steady window opens this long after the last start

Heard = Callable[[str, dict[str, Any], int], None]


@dataclass(frozen=True)
class Plan:
    """What the clients do."""

    clients: int
    seconds: float
    encoding: str = "pcm_s16le"
    binary: bool = False
    ack: bool = True
    real_client: bool = False
    finish_s: float = 60.0  # how long `flush` and `stop` may take


@dataclass
class Voice:
    """One client's state."""

    index: int
    tally: Tally = field(default_factory=Tally)
    sent_at: list[float] = field(default_factory=list)  # monotonic seconds, by chunk
    late_ms: list[float] = field(default_factory=list)  # behind its own schedule
    acked: int = 0
    failure: str = ""


@dataclass(frozen=True)
class Steady:
    """The window in which every client streams."""

    seconds: float
    sent_s: float  # audio sent in it, all clients
    acked_s: float  # audio acknowledged in it


async def drive(
    url: str,
    speech: SpokenChunks,
    plan: Plan,
    steady_begins: Callable[[], None],
    steady_ends: Callable[[], None],
) -> tuple[list[Voice], Steady]:
    """Run all clients; the two callbacks mark the steady window."""
    voices = [Voice(i) for i in range(plan.clients)]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        links = [await _enter(http, url, voice, speech, plan) for voice in voices]
        zero = time.monotonic() + 0.2
        streams = [
            asyncio.create_task(_guard(voice, _speak(link, voice, speech, plan, zero)))
            for link, voice in zip(links, voices, strict=True)
        ]
        await _until(zero + RAMP_S + min(SETTLE_S, plan.seconds / 4))
        began, sent, acked = time.monotonic(), *_progress(voices)
        steady_begins()
        await _until(zero + plan.seconds)
        steady_ends()
        took, sent_now, acked_now = time.monotonic() - began, *_progress(voices)
        await asyncio.gather(*streams)
    chunk_s = speech.chunk_samples / RATE
    sent_s, acked_s = (sent_now - sent) * chunk_s, (acked_now - acked) * chunk_s
    return voices, Steady(took, sent_s, acked_s)


def _progress(voices: list[Voice]) -> tuple[int, int]:
    """Chunks sent and acknowledged so far."""
    return sum(len(v.sent_at) for v in voices), sum(v.acked for v in voices)


async def _enter(
    http: aiohttp.ClientSession, url: str, voice: Voice, speech: SpokenChunks, plan: Plan
) -> Link:
    def heard(name: str, payload: dict[str, Any], size: int) -> None:
        now = time.monotonic()
        if name != "emotion_result":
            voice.tally.other(name, payload)
            return
        _, end = voice.tally.result(payload, size)
        chunk = last_sample(end) // speech.chunk_samples
        if voice.sent_at:
            sent = voice.sent_at[min(chunk, len(voice.sent_at) - 1)]
            voice.tally.client_ms.append((now - sent) * 1000)

    kind = RealLink if plan.real_client else LightLink
    link: Link = await kind.open(http, url, heard, binary=plan.binary)
    started = await link.call("start", {"encoding": plan.encoding, "sample_rate": RATE})
    if started.get("ok") is False:
        raise ConnectionError(f"start refused: {started.get('error')}")
    return link


async def _speak(link: Link, voice: Voice, speech: SpokenChunks, plan: Plan, zero: float) -> None:
    try:
        await _stream(link, voice, speech, plan, zero)
        # At once: the end of a sentence that is cut short is scored when it is known to be the end.
        await link.call("flush", {}, plan.finish_s)
        summary = await link.call("stop", {}, plan.finish_s)
        voice.tally.summary = voice.tally.summary or summary
    finally:
        await link.close()


async def _stream(link: Link, voice: Voice, speech: SpokenChunks, plan: Plan, zero: float) -> None:
    def acked(answer: dict[str, Any]) -> None:
        voice.acked += 1
        if answer.get("ok") is False:
            voice.tally.errors[answer["error"]["code"]] += 1

    # Golden-ratio starts: chunks of different clients never fall on the same few instants.
    begin = zero + RAMP_S * (voice.index * 0.6180339887 % 1.0)
    every = speech.chunk_samples / RATE
    first = len(speech.chunks) * voice.index // plan.clients
    for n in range(round(plan.seconds / every)):
        due = begin + (n + 1) * every  # a chunk can leave only once its audio has been spoken
        await _until(due)
        now = time.monotonic()
        voice.sent_at.append(now)
        voice.late_ms.append((now - due) * 1000)
        await link.send_chunk(speech.chunks[(first + n) % len(speech.chunks)], acked if plan.ack else None)


async def _guard(voice: Voice, work: Awaitable[None]) -> None:
    """A client that breaks is counted; the others go on."""
    try:
        await work
    except Exception as broken:
        voice.failure = voice.failure or f"{type(broken).__name__}: {broken}"


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
