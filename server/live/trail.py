"""What a session leaves for another worker to go on from, should its own be killed: where it stands, what it told.

Positions, counts and verdicts; no audio, and no scores of frames. A file per session in a private folder,
written before its client is answered or told: what a process has written survives it. Of a service of several
servers it is kept for the others, too (`Keeper`). `Past` is how it is read.
"""

from __future__ import annotations

import logging
import os
import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from server.observers import Counters
from stream.types import HOP, LABELS, STEP_MS, JsonDict, ceil_div, frames_in

log = logging.getLogger("sessions")

Entry = tuple[
    str, str | None, JsonDict
]  # an event, its channel, its payload (of scores: where, and how many)

KEPT = 100  # events that can still be told otherwise, or again: as `outbox` keeps
REWRITE = 400  # events after which the file is written anew, so that it stays small
UTTERANCES = 1000
# next_seq, samples so far, sample rate, whether another can go on, bytes of an incomplete sample, these
_HEAD = struct.Struct("<qqi?B16s")
_CODE = "NOT_READY"


@dataclass(frozen=True)
class Resting:
    """Where a codec stands, so that another one can go on from there."""

    sample_rate: int
    carry: bytes  # the first bytes of a sample


class Keeper(Protocol):
    """Where other servers can read the bytes of a trail's file, once they are kept."""

    def replaced(self, file: Path, data: bytes) -> None: ...
    def wrote(self, file: Path, at: int, data: bytes) -> None: ...
    def removed(self, file: Path) -> None: ...
    def left(self, file: Path) -> None: ...
    def then(self, do: Callable[[], None]) -> None:
        """When all that was written before is kept. In order."""
        ...

    def settle(self) -> None:
        """Wait for that."""
        ...


class Trail:
    """Written by a session with its lock held. A disk that fails costs no session more than its trail."""

    def __init__(self, path: Path, opening: JsonDict, keeper: Keeper | None = None) -> None:
        self.path, self._keeper = path, keeper
        self._count = 0
        self._fd = -1
        try:
            self._write_anew(b"\0" * _HEAD.size, [["opening", opening]])
        except OSError as broken:
            self._fail(broken)

    @staticmethod
    def of(past: Past, path: Path, keeper: Keeper | None = None) -> Trail:
        """As it goes on from what another process has left."""
        trail = Trail(path, past.opening, keeper)
        trail._rewrite(past)
        return trail

    def at(self, next_seq: int, samples: int, resting: Resting | None) -> None:
        """Where its audio stands; before that is acknowledged."""
        rate, carry = (resting.sample_rate, resting.carry) if resting else (0, b"")
        if self._fd < 0:
            return
        head = _HEAD.pack(next_seq, samples, rate, resting is not None, len(carry), carry)
        try:
            os.pwrite(self._fd, head, 0)
        except OSError as broken:
            self._fail(broken)
        if self._keeper is not None:
            self._keeper.wrote(self.path, 0, head)

    def then(self, do: Callable[[], None]) -> None:
        """When what was written so far is where it is needed: at once, where that is the file alone."""
        if self._keeper is None:
            do()
        else:
            self._keeper.then(do)

    def settle(self) -> None:
        """Wait for that."""
        if self._keeper is not None:
            self._keeper.settle()

    def told(self, event: str, payload: JsonDict) -> None:
        """What its client is about to be told."""
        self._append([event, payload.get("channel"), _kept(event, payload)])
        self._count += 1
        if self._count % REWRITE == 0 and self._fd >= 0:
            past = Past.read(self.path)
            if past is not None:
                self._rewrite(past)

    def rewind(self, received: int) -> None:
        """Its client has got so many events; those after them are told again."""
        self._append(["rewind", received])

    def leave(self) -> None:
        """Another worker goes on: nothing more is written."""
        self._close()
        if self._keeper is not None:
            self._keeper.left(self.path)

    def remove(self) -> None:
        """The session is over."""
        self._close()
        self.path.unlink(missing_ok=True)
        if self._keeper is not None:
            self._keeper.removed(self.path)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _append(self, line: list[Any]) -> None:
        if self._fd < 0:
            return
        data = _line(line)
        try:
            os.pwrite(self._fd, data, self._end)
        except OSError as broken:
            self._fail(broken)
            return
        if self._keeper is not None:
            self._keeper.wrote(self.path, self._end, data)
        self._end += len(data)

    def _rewrite(self, past: Past) -> None:
        if self._fd < 0:
            return
        past.fold_up_to_last(KEPT)
        try:
            head = past.head or os.pread(self._fd, _HEAD.size, 0)
            lines: list[list[Any]] = [
                ["opening", past.opening],
                ["base", past.base],
                *map(list, past.entries),
            ]
            self._write_anew(head, lines)
        except OSError as broken:
            self._fail(broken)

    def _write_anew(self, head: bytes, lines: list[list[Any]]) -> None:
        draft = self.path.with_suffix(".draft")
        data = head + b"".join(map(_line, lines))
        draft.write_bytes(data)
        fd = os.open(draft, os.O_RDWR)
        draft.replace(self.path)
        self._close()
        self._fd, self._end = fd, len(data)
        if self._keeper is not None:
            self._keeper.replaced(self.path, data)

    def _fail(self, broken: OSError) -> None:
        if self._fd >= 0 or not self.path.exists():
            log.warning("a session cannot be taken up by another worker: %s", broken)
        self.remove()


def _line(of: list[Any]) -> bytes:
    return orjson.dumps(of, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


@dataclass
class Told:
    """What was told of one channel. Frames."""

    speech: int = 0
    lost: int = 0
    told_to: int = 0  # scored or lost before it
    open: int | None = None  # where the speech began that has not ended
    ended: list[list[int]] = field(default_factory=list)  # spans that have, and are not told of in full
    by_label: Counter[str] = field(default_factory=Counter)

    def take(self, event: str, payload: JsonDict) -> None:
        if event == "speech":
            at = payload["at_ms"] // STEP_MS
            if payload["state"] == "start":
                self.open = at
            elif self.open is not None:
                self.speech += at - self.open
                self.ended.append([self.open, at])
                self.open = None
        elif event == "emotion_result":
            self.told_to = payload["first"] + payload["n"]
            self.by_label.update(payload["by"])
        elif event == "lost":
            self.told_to = payload["end_ms"] // STEP_MS
            self.lost += (payload["end_ms"] - payload["start_ms"]) // STEP_MS
        self.ended = [span for span in self.ended if span[1] > self.told_to]


class Past:
    """A session as its trail tells it."""

    def __init__(self, opening: JsonDict, head: bytes) -> None:
        self.opening, self.head = opening, head
        self.next_seq, self.samples, rate, self.can_go_on, n, carry = _HEAD.unpack(head)
        self.resting = Resting(rate, carry[:n])
        self.voices: dict[str | None, Told] = {}
        self.utterances: deque[JsonDict] = deque(maxlen=UTTERANCES)
        self.count = 0  # of events that its client was told
        self.entries: deque[Entry] = deque()  # the last of them, not in `voices` and `utterances` yet

    @staticmethod
    def read(path: Path) -> Past | None:
        """None where there is nothing that could be read: its writer may have been killed at any moment."""
        try:
            data = path.read_bytes()
            lines = [orjson.loads(line) for line in data[_HEAD.size :].split(b"\n")[:-1]]
            past = Past(lines[0][1], data[: _HEAD.size])
        except (OSError, ValueError, IndexError, struct.error):
            return None
        for line in lines[1:]:
            if line[0] == "base":
                past._begin_with(line[1])
            elif line[0] == "rewind":
                past.rewind(line[1])
            else:
                past.entries.append((line[0], line[1], line[2]))
                past.count += 1
        return past

    @property
    def origin(self) -> int:
        """The frame where its audio goes on; what came of that frame already is passed over."""
        return ceil_div(self.samples, HOP)

    @property
    def base(self) -> JsonDict:
        """What was told before `entries`."""
        voices = [[name, vars(voice)] for name, voice in self.voices.items()]
        count = self.count - len(self.entries)
        return {"voices": voices, "utterances": list(self.utterances), "count": count}

    def rewind(self, received: int) -> list[Entry]:
        """Its client has got so many events: those that it lacks, as far as they are known."""
        lacks = min(max(0, self.count - received), len(self.entries))
        lacking = [self.entries.pop() for _ in range(lacks)][::-1]
        self.count = received
        return lacking

    def fold_up_to_last(self, n: int) -> None:
        """Add up all entries but the last `n`."""
        while len(self.entries) > n:
            self._fold(self.entries.popleft())

    def counters(self, channel: str | None) -> Counters:
        """What became of the frames of a channel."""
        voice = self.voices.get(channel, Told())
        by_label = np.array([voice.by_label[label] for label in LABELS], np.int64)
        return Counters(voice.speech, voice.lost, by_label)

    def _fold(self, entry: Entry) -> None:
        event, channel, payload = entry
        if event == "utterance_result":
            self.utterances.append(payload)
        else:
            self.voices.setdefault(channel, Told()).take(event, payload)

    def _begin_with(self, base: JsonDict) -> None:
        for name, of in base["voices"]:
            self.voices[name] = Told(**{**of, "by_label": Counter(of["by_label"])})
        self.utterances.extend(base["utterances"])
        self.count = base["count"]

    def settle(self, lacking: list[Entry]) -> list[Entry]:
        """The story's end so far: what its client is to be told now, so that it is told once of every frame.

        `lacking`: what it has not got, in full where the worker that had it still lives. Otherwise speech whose
        scores it has not got is lost.
        """
        label = self.opening["label"]
        tell = [_told_again(label, entry) for entry in lacking if entry[0] != "frame_result"]
        self.fold_up_to_last(0)
        for event, channel, payload in tell:
            self._fold((event, channel, _kept(event, payload)))
        for channel, voice in self.voices.items():
            for entry in _closing(label, channel, voice, frames_in(self.samples)):
                self._fold(entry)
                tell.append(entry)
        return tell


def _closing(label: str, channel: str | None, voice: Told, now: int) -> list[Entry]:
    """Speech that was detected, and will not be scored any more."""
    spans = [(start, end) for start, end in voice.ended]
    if voice.open is not None:
        spans.append((voice.open, max(voice.open + 1, voice.told_to, now)))
    closing: list[Entry] = []
    told_to = voice.told_to
    for start, end in spans:
        if end > max(start, told_to):
            closing.append(("lost", channel, _lost(label, channel, max(start, told_to), end)))
            told_to = end
    if voice.open is not None:
        at = {"session_id": label, **_of(channel), "state": "end", "at_ms": spans[-1][1] * STEP_MS}
        closing.append(("speech", channel, at))
    return closing


def _told_again(label: str, entry: Entry) -> Entry:
    """Scores are not kept: whoever lacks them is told that they are lost."""
    event, channel, payload = entry
    if event != "emotion_result" or "first" not in payload:
        return entry
    first = payload["first"]
    return "lost", channel, _lost(label, channel, first, first + payload["n"])


def _kept(event: str, payload: JsonDict) -> JsonDict:
    """What is kept of an event's payload."""
    if event == "frame_result":
        return {}
    if event != "emotion_result":
        return payload
    emotions = payload["frame_emotions"]
    return {"first": payload["start_ms"] // STEP_MS, "n": len(emotions), "by": Counter(emotions)}


def _lost(label: str, channel: str | None, start: int, end: int) -> JsonDict:
    times = {"start_ms": start * STEP_MS, "end_ms": end * STEP_MS}
    return {"session_id": label, **_of(channel), **times, "code": _CODE}


def _of(channel: str | None) -> JsonDict:
    return {} if channel is None else {"channel": channel}
