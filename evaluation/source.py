"""Clips, read once each and given in every condition. The only place where an evaluation reads audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from evaluation.conditions import Noise, read, telephone
from evaluation.dataset import Clip
from evaluation.listen import Task, speech_start
from server.recognition.files import UnreadableFile
from stream.gate import GateConfig
from stream.types import SAMPLE_RATE


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
    audio_s: float = 0.0  # read so far
    unreadable: dict[int, str] = field(default_factory=dict)  # clip, why

    def __iter__(self) -> Iterator[Task]:
        noise = Noise.of(self.clips, self.noise_db, self.seed) if "noise" in self.conditions else None
        for i, clip in enumerate(self.clips):
            try:
                samples = read(clip.path)
            except UnreadableFile as broken:
                self.unreadable[i] = str(broken).removeprefix(f"{clip.path}: ")
                continue
            self.audio_s += len(samples) / SAMPLE_RATE
            degraded = any(condition != "clean" for condition in self.conditions)
            start = speech_start(samples, self.gate) if degraded else None
            for at, condition in enumerate(self.conditions):
                if condition == "telephone":
                    heard = telephone(samples)
                elif condition == "noise" and noise is not None:
                    heard = noise.add(clip, samples)
                else:
                    heard = samples
                yield Task(i * len(self.conditions) + at, heard, start)
