"""What one session was promised and what it got: every frame counted. No I/O, no clock.

Inside detected speech each frame must be scored exactly once or be named in exactly one `lost`. The tally
marks frames one by one, so that a hole, a repetition and a frame out of nowhere are told apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

STEP_MS = 10
HOP = 160  # samples
FRAME = 400  # samples


@dataclass
class Tally:
    """Fed with the events of one session, in the order in which they came."""

    scored: list[tuple[int, int]] = field(default_factory=list)  # frames [start, end)
    lost: list[tuple[int, int]] = field(default_factory=list)
    spans: list[list[int]] = field(default_factory=list)
    open_span: int | None = None
    out_of_order: int = 0  # results that start before the end of the one before
    utterances: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    lost_codes: Counter[str] = field(default_factory=Counter)  # frames by code
    server_ms: list[float] = field(default_factory=list)  # the server's own latency_ms
    client_ms: list[float] = field(default_factory=list)
    result_bytes: int = 0
    summary: dict[str, Any] = field(default_factory=dict)

    def result(self, event: dict[str, Any], size: int) -> tuple[int, int]:
        """Note one `emotion_result`; answers its frames [start, end)."""
        start = round(event["start_ms"] / STEP_MS)
        end = start + len(event["frame_scores"])
        self.out_of_order += bool(self.scored and start < self.scored[-1][1])
        self.scored.append((start, end))
        self.server_ms.append(float(event["latency_ms"]))
        self.result_bytes += size
        return start, end

    def other(self, name: str, event: dict[str, Any]) -> None:
        """Note any event that is no result."""
        if name == "speech":
            at = round(event["at_ms"] / STEP_MS)
            if event["state"] == "start":
                self.open_span = at
            elif self.open_span is not None:
                self.spans.append([self.open_span, at])
                self.open_span = None
        elif name == "lost":
            start, end = round(event["start_ms"] / STEP_MS), round(event["end_ms"] / STEP_MS)
            self.lost.append((start, end))
            self.lost_codes[event["code"]] += end - start
        elif name == "utterance_result":
            self.utterances += 1
        elif name == "error":
            self.errors[event["code"]] += 1
        elif name == "session_summary":
            self.summary = event

    def counts(self) -> Counts:
        """Frame by frame: what was inside speech, and what became of it."""
        spans = self.spans + ([[self.open_span, self.open_span]] if self.open_span is not None else [])
        size = max((end for _, end in [*self.scored, *self.lost, *spans]), default=0)
        inside, scored, lost = (_marks(size, stretches) for stretches in (spans, self.scored, self.lost))
        told = scored + lost
        return Counts(
            expected=int((inside > 0).sum()),
            received=int((scored > 0).sum()),
            lost=int((lost > 0).sum()),
            missing=int(((inside > 0) & (told == 0)).sum()),
            repeated=int(np.maximum(told - 1, 0).sum()),
            outside=int(((inside == 0) & (told > 0)).sum()),
            unclosed=int(self.open_span is not None),
        )

    def disputed(self) -> bool:
        """Whether the server's own summary counts other frames than came here."""
        if not self.summary:
            return True
        counts = self.counts()
        own = (
            self.summary["speech_ms"] // STEP_MS,
            self.summary["frames"],
            self.summary["lost_ms"] // STEP_MS,
        )
        return own != (counts.expected, counts.received, counts.lost)


@dataclass(frozen=True)
class Counts:
    """Frames of one or more sessions. A sound run has 0 in the last four."""

    expected: int = 0  # inside detected speech
    received: int = 0
    lost: int = 0
    missing: int = 0  # inside speech, neither scored nor named in `lost`
    repeated: int = 0  # told more than once
    outside: int = 0  # told, but in no detected stretch of speech
    unclosed: int = 0  # stretches of speech that never ended

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def last_sample(end_frame: int) -> int:
    """Index of the last sample that frames up to, not including, `end_frame` need."""
    return (end_frame - 1) * HOP + FRAME - 1


def _marks(size: int, stretches: list[Any]) -> npt.NDArray[np.int32]:
    marks = np.zeros(size, np.int32)
    for start, end in stretches:
        marks[start:end] += 1
    return marks
