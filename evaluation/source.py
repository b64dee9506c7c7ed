"""Clips, read and given in every condition. The only place where an evaluation reads audio."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.conditions import CONVERSATION, Noise, read, telephone
from evaluation.dataset import Clip
from evaluation.listen import Piece, Task, speech_start
from server.files.find import UnreadableFile
from stream.gate import GateConfig
from stream.types import HOP, SAMPLE_RATE, Floats

TURNS = 10  # clips of a conversation, at most
LONGEST_S = 120  # of one with more than one clip: all of it is in memory
PAUSE = 100  # frames of silence between them: the gate closes, the utterance ends


@dataclass(eq=False)
class _Talk:
    """Clips that follow each other in one session."""

    pieces: list[Piece] = field(default_factory=list)
    parts: list[Floats] = field(default_factory=list)
    n_samples: int = 0

    def add(self, key: int, samples: Floats, opens: int | None) -> None:
        """`opens`: the frame at which the gate opens in samples (n,) alone."""
        if self.parts:
            silence = np.zeros(-self.n_samples % HOP + PAUSE * HOP, np.float32)
            self.parts.append(silence)
            self.n_samples += len(silence)
        at = self.n_samples // HOP
        # What the gate lets through before a voice belongs to it: half of the pause is each side's.
        self.pieces.append(Piece(key, max(0, at - PAUSE // 2), None if opens is None else at + opens))
        self.parts.append(samples)
        self.n_samples += len(samples)

    def task(self) -> Task:
        return Task(tuple(self.pieces), np.concatenate(self.parts))


@dataclass(eq=False)
class Source:
    """Iterating gives tasks: clip i in condition c has the key i * len(conditions) + c.

    When speech began is told from the clean clip in every condition.
    """

    clips: list[Clip]
    conditions: Sequence[str]
    noise_db: float
    seed: int
    gate: GateConfig
    seconds: dict[int, float] = field(default_factory=dict)  # of clips read so far
    unreadable: dict[int, str] = field(default_factory=dict)  # clip, why

    @property
    def audio_s(self) -> float:
        """Of all clips read, once."""
        return sum(self.seconds.values())

    def __iter__(self) -> Iterator[Task]:
        if any(condition != CONVERSATION for condition in self.conditions):
            yield from self._one_by_one()
        if CONVERSATION in self.conditions:
            yield from self._conversations(self.conditions.index(CONVERSATION))

    def _one_by_one(self) -> Iterator[Task]:
        noise = Noise.of(self.clips, self.noise_db, self.seed) if "noise" in self.conditions else None
        degraded = {"telephone", "noise"} & set(self.conditions)
        for i, clip in enumerate(self.clips):
            samples = self._read(i)
            if samples is None:
                continue
            start = speech_start(samples, self.gate) if degraded else None
            for at, condition in enumerate(self.conditions):
                if condition == CONVERSATION:
                    continue
                if condition == "telephone":
                    heard = telephone(samples)
                elif condition == "noise" and noise is not None:
                    heard = noise.add(clip, samples)
                else:
                    heard = samples
                yield Task((Piece(self._key(i, at), start=start),), heard)

    def _conversations(self, at: int) -> Iterator[Task]:
        for turns in conversations(self.clips, self.seed):
            talk = _Talk()
            for i in turns:
                samples = self._read(i)
                if samples is None:
                    continue
                if talk.pieces and talk.n_samples + len(samples) > LONGEST_S * SAMPLE_RATE:
                    yield talk.task()
                    talk = _Talk()
                talk.add(self._key(i, at), samples, speech_start(samples, self.gate))
            if talk.pieces:
                yield talk.task()

    def _key(self, i: int, condition: int) -> int:
        return i * len(self.conditions) + condition

    def _read(self, i: int) -> Floats | None:
        try:
            samples = read(self.clips[i].path)
        except UnreadableFile as broken:
            self.unreadable[i] = str(broken).removeprefix(f"{self.clips[i].path}: ")
            return None
        self.seconds[i] = len(samples) / SAMPLE_RATE
        return samples


def conversations(clips: Sequence[Clip], seed: int) -> Iterator[list[int]]:
    """Clips (their indices) that one voice says in one session: each speaker's in random order, TURNS at a time.

    A clip without a named speaker is a session of its own.
    """
    voices: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, clip in enumerate(clips):
        if clip.speaker:
            voices[clip.corpus, clip.speaker].append(i)
        else:
            yield [i]
    for (corpus, speaker), mine in voices.items():
        rng = np.random.default_rng(zlib.crc32(f"{seed}/{corpus}/{speaker}".encode()))
        order = rng.permutation(mine).tolist()
        yield from (order[at : at + TURNS] for at in range(0, len(order), TURNS))
