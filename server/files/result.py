"""What was found in one recording, and the files that say so: result.json, result.csv, embedding.npy.

One dictionary is built here for REST, the command line and the folder alike, so they agree to the last digit.
Frames of a long recording are many: they are written row by row, never as one text in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson

from server import wire
from server.observers import AlertEvent
from stream.affect import Affect, affects
from stream.types import LABELS, N_LABELS, Floats, FramesScored, JsonDict, ModelSpec, UtteranceScored
from stream.utterance import Utterance

GRANULARITIES = ("utterance", "frame")
RESULT, CSV, EMBEDDING, AUDIO = "result.json", "result.csv", "embedding.npy", "processed_audio.wav"
_ROWS = 4096  # frames written at a time

NAME_LENGTH = 120  # of a recording's own name as it is kept
Create = Callable[[str], BinaryIO]  # opens a file of the result for writing, by its name
Progress = (
    JsonDict  # `{"step": …}` when one is done, `{"progress": …}` in between, as docs/api.md describes them
)
OnProgress = Callable[[Progress], None]


def clean_name(name: str) -> str:
    """A file's own name as it may be kept and shown: no folders, nothing that cannot be seen, 120 characters.

    What is left out of a long one is its middle: beginnings tell recordings apart, endings say what they are.
    """
    bare = name.replace("\\", "/").rpartition("/")[2]
    bare = "".join(c for c in bare if c.isprintable()).strip().lstrip(".")
    return bare if len(bare) <= NAME_LENGTH else f"{bare[: NAME_LENGTH - 21]}…{bare[-20:]}"


def into(folder: Path) -> Create:
    """Files of a result in this folder."""
    return lambda name: (folder / name).open("wb")


@dataclass
class Recording:
    """The scores of one recording, gathered while it is heard."""

    spec: ModelSpec
    granularity: str  # one of GRANULARITIES
    embed: bool = False  # an embedding was asked for
    speech: Utterance = field(default_factory=Utterance)  # all frames of all stretches of speech
    segments: Utterance = field(default_factory=Utterance)  # of models that score it at once
    utterances: list[JsonDict] = field(default_factory=list)
    first_frames: list[int] = field(default_factory=list)
    probs: list[Floats] = field(default_factory=list)  # kept at frame granularity only
    custom_label: JsonDict | None = None  # what the custom labels say of all of it
    similarity: JsonDict = field(default_factory=dict)  # to reference samples, where there are any
    file_name: str = ""  # the recording's own, cleaned; "": not known
    verdict_rule: str = ""  # the name of the rule that says most, or normal
    alerts: list[AlertEvent] = field(default_factory=list)
    head: JsonDict = field(default_factory=dict)  # granularity, timestamps, model, duration: once it is over

    def add(self, event: FramesScored) -> None:
        self.speech.add(event.scores)
        if self.granularity == "frame":
            self.first_frames.append(event.first_frame)
            self.probs.append(event.probs)

    def add_utterance(self, event: UtteranceScored, custom_label: JsonDict | None) -> None:
        start_ms, end_ms = event.start * wire.STEP_MS, event.end * wire.STEP_MS
        found = {"start_ms": start_ms, "end_ms": end_ms, **wire.scores(event.probs)}
        self.utterances.append(found if custom_label is None else {**found, "taught": custom_label})

    def finish(self, duration_s: float) -> None:
        named = {
            "prior": self.spec.prior,
            "file_name": self.file_name,
            "model_fingerprint": self.spec.fingerprint,
        }
        told = {"verdict": self.verdict_rule, "alerts": [wire.alert(alert) for alert in self.alerts]}
        made = wire.provenance(self.granularity, self.spec.name, duration_s)
        self.head = {**made, **{name: text for name, text in named.items() if text}, **told}

    @property
    def whole(self) -> Utterance:
        """What the verdict on all of it is made of; without frames where nobody speaks."""
        return self.segments if self.segments.n_frames and self.speech.n_frames else self.speech

    @property
    def embedding(self) -> Floats | None:
        """Float32 (embedding_size,); None where none was asked for, or there is none: `no_embedding` says why."""
        return self.whole.embedding if self.embed else None

    @property
    def no_embedding(self) -> str | None:
        """Why there is no embedding although one was asked for."""
        if not self.embed or self.embedding is not None:
            return None
        if not self.spec.embedding_size:
            return f"the model {self.spec.name} gives no embeddings"
        return "there is no speech in this recording"

    @property
    def verdict(self) -> JsonDict:
        """`emotion`, `confidence` and `scores` of all of it; `unknown` where nobody speaks."""
        if self.whole.n_frames:
            return wire.scores(self.whole.probs())
        nothing = np.zeros(N_LABELS, np.float32)
        nothing[LABELS.index("unknown")] = 1
        return wire.scores(nothing)

    def result(self) -> JsonDict:
        """The fields of result.json."""
        frames = {}
        if self.granularity == "frame":
            probs = np.concatenate(self.probs) if self.probs else np.empty((0, N_LABELS), np.float32)
            frames = {**wire.frame_rows(probs), "frame_start_ms": self._starts()}
        return {**self.verdict, **self.head, **self._compared, **frames, "utterances": self.utterances}

    @property
    def _compared(self) -> JsonDict:
        """With what the operator has given to compare with."""
        taught = {} if self.custom_label is None else {"taught": self.custom_label}
        return {**taught, **self.similarity}

    def save(self, create: Create) -> list[str]:
        """Write result.json, result.csv and, where there is one, embedding.npy; their names."""
        with create(RESULT) as file:
            file.writelines(self._json())
        with create(CSV) as file:
            file.writelines(line.encode() for line in self._table())
        if self.embedding is None:
            return [RESULT, CSV]
        with create(EMBEDDING) as file:
            np.save(file, self.embedding, allow_pickle=False)
        return [RESULT, CSV, EMBEDDING]

    def _starts(self) -> list[int]:
        return [
            (first + i) * wire.STEP_MS
            for first, rows in zip(self.first_frames, self.probs, strict=True)
            for i in range(len(rows))
        ]

    def _json(self) -> Iterator[bytes]:
        """`result()` as JSON; the frames of an hour one block after the other."""
        if self.granularity == "utterance":
            yield orjson.dumps(self.result(), option=orjson.OPT_INDENT_2) + b"\n"
            return
        yield orjson.dumps({**self.verdict, **self.head, **self._compared})[:-1]
        for name in ("frame_scores", "frame_emotions", "frame_confidences"):
            yield b',\n"%s": [' % name.encode()
            yield from _joined(wire.frame_rows(rows)[name] for rows in self._blocks())
            yield b"]"
        yield b',\n"frame_start_ms": ' + orjson.dumps(self._starts())
        yield b',\n"utterances": ' + orjson.dumps(self.utterances) + b"}\n"

    def _blocks(self) -> Iterator[Floats]:
        rows: list[Floats] = []
        for probs in self.probs:
            rows.append(probs)
            if sum(map(len, rows)) >= _ROWS:
                yield np.concatenate(rows)
                rows = []
        if rows:
            yield np.concatenate(rows)

    def _table(self) -> Iterator[str]:
        """Lines of result.csv. By hand: nothing in them needs quotes, and an hour has 360,000 frames."""
        if self.granularity == "frame":
            yield _line("start_ms", "emotion", "confidence", *LABELS, *Affect._fields)
            starts = iter(self._starts())
            for block in self._blocks():
                told = wire.frame_rows(block)
                scores = _text(told["frame_scores"])[2:-2].split("],[")
                sure = _text(told["frame_confidences"])[1:-1].split(",")
                places = _text(affects(block))[2:-2].split("],[")
                for emotion, confidence, *row in zip(
                    told["frame_emotions"], sure, scores, places, strict=True
                ):
                    yield _line(next(starts), emotion, confidence, *row)
            return
        yield _line("start_ms", "end_ms", "emotion", "confidence", *LABELS, *wire.ALSO)
        for said in self.utterances:
            named = (said[name] for name in ("start_ms", "end_ms", "emotion", "confidence"))
            also = ("" if cell is None else cell for cell in wire.also(said))
            yield _line(*named, *said["scores"].values(), *also)


def _line(*values: object) -> str:
    return ",".join(map(str, values)) + "\r\n"


def _text(array: Floats) -> str:
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _joined(blocks: Iterator[object]) -> Iterator[bytes]:
    """Arrays as JSON without their brackets, with commas between."""
    comma = b""
    for block in blocks:
        yield comma + orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        comma = b",\n"
