"""Recordings on disk: read in pieces, scored as a live stream is, told in the fields of result.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from server import wire
from stream.codec import Resampler
from stream.offline import run
from stream.session import StreamConfig
from stream.types import (
    LABELS,
    N_LABELS,
    EmotionModel,
    Floats,
    FramesScored,
    JsonDict,
    UtteranceScored,
)
from stream.utterance import Utterance

SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"}
)
BLOCK_S = 1


class UnreadableFile(Exception):
    """The file holds no audio that can be read; the text says why."""


@dataclass
class Recording:
    """What was found in one file."""

    model: str
    duration_s: float = 0.0
    whole: Utterance = field(default_factory=Utterance)
    utterances: list[JsonDict] = field(default_factory=list)
    first_frames: list[int] = field(default_factory=list)
    probs: list[Floats] = field(default_factory=list)  # kept at frame granularity only

    def result(self, granularity: str) -> JsonDict:
        """The fields of result.json; of a recording without speech, `unknown`: there is nothing to tell."""
        head = wire.provenance(granularity, self.model, self.duration_s)
        if granularity == "frame":
            probs = np.concatenate(self.probs) if self.probs else np.empty((0, N_LABELS), np.float32)
            starts = [
                (first + i) * wire.STEP_MS
                for first, rows in zip(self.first_frames, self.probs, strict=True)
                for i in range(len(rows))
            ]
            return {**head, **wire.frame_rows(probs), "frame_start_ms": starts}
        return {**wire.scores(self._probs()), **head, "utterances": self.utterances}

    def _probs(self) -> Floats:
        if self.whole.n_frames:
            return self.whole.probs()
        nothing = np.zeros(N_LABELS, np.float32)
        nothing[LABELS.index("unknown")] = 1
        return nothing


def find(paths: list[Path]) -> list[Path]:
    """Files as given, folders as the recordings anywhere below them, in order. Raises FileNotFoundError."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: there is no such file or folder")
    return found


def duration_s(path: Path) -> float:
    """Length of a recording in seconds, from its header; 0 when it cannot be told."""
    try:
        info = soundfile.info(path)
        return float(info.frames / info.samplerate) if 0 < info.frames < 1 << 48 else 0.0
    except (soundfile.SoundFileError, OSError):
        return 0.0


def analyze(path: Path, model: EmotionModel, config: StreamConfig, granularity: str) -> Recording:
    """Score a recording of any length; memory grows with its frames only at frame granularity.

    Raises UnreadableFile.
    """
    found = Recording(model.spec.name)
    for event in run(_counted(path, found), model, config):
        if isinstance(event, FramesScored):
            found.whole.add(event.scores)
            if granularity == "frame":
                found.first_frames.append(event.first_frame)
                found.probs.append(event.probs)
        elif isinstance(event, UtteranceScored):
            start_ms, end_ms = event.start * wire.STEP_MS, event.end * wire.STEP_MS
            found.utterances.append({"start_ms": start_ms, "end_ms": end_ms, **wire.scores(event.probs)})
    return found


def _counted(path: Path, found: Recording) -> Iterator[Floats]:
    """The file's samples at 16 kHz, mono, in blocks; adds up their length."""
    try:
        with soundfile.SoundFile(path) as file:
            resampler, rate = Resampler(), file.samplerate
            for block in file.blocks(rate * BLOCK_S, dtype="float32", always_2d=True):
                found.duration_s += len(block) / rate
                if not np.isfinite(block).all():
                    raise UnreadableFile(f"{path}: holds samples that are not finite numbers")
                mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
                yield resampler.push(np.ascontiguousarray(mono), rate)
            yield resampler.finish()
    except (soundfile.SoundFileError, OSError) as broken:
        raise UnreadableFile(f"{path}: {broken}") from None
