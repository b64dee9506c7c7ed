"""What a recording said, as typed values; `to_dict` gives the fields of result.json, to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from server import wire
from server.files.result import Recording
from stream.types import LABELS as LABELS
from stream.types import LABELS_ZH as _CHINESE
from stream.types import Floats, JsonDict

LABELS_ZH = dict(zip(LABELS, _CHINESE, strict=True))  # the Chinese word of each label


@dataclass(frozen=True, kw_only=True, eq=False)
class _Verdict:
    """`emotion`: one of LABELS, and the likeliest of `scores`, probabilities by label that add up to 1;
    `confidence`: its own. `ambiguous`: it leads the second by little, both are worth showing; `uncertain`: such
    answers are wrong more often than right; `second`: the next likeliest where it is present, too. `arousal`,
    `valence`: -1 to 1."""

    emotion: str
    emotion_zh: str  # the emotion in Chinese, as `server.labels_zh` of the settings calls it
    confidence: float
    ambiguous: bool
    uncertain: bool
    second: str | None
    arousal: float
    valence: float
    scores: dict[str, float] = field(repr=False)
    custom_labels: JsonDict | None = None  # {name, label, confidence, scores}: by labels of your own


@dataclass(frozen=True, kw_only=True, eq=False)
class Utterance(_Verdict):
    """A stretch of speech, from `start_ms` to `end_ms` of the recording."""

    start_ms: int
    end_ms: int

    def to_dict(self) -> JsonDict:
        """As in the `utterances` of result.json."""
        told = {name: getattr(self, name) for name in ("start_ms", "end_ms", *_SCORED)}
        return {**told, **_taught(self.custom_labels)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """The frames of all detected speech, 25 ms long and 10 ms apart; silence has none.

    `scores`: float32 (n, 9), probabilities in the order of LABELS; `emotions`: the likeliest label of each;
    `confidences`: float32 (n,); `start_ms`: int64 (n,), where in the recording each begins.
    """

    scores: Floats = field(repr=False)
    emotions: list[str] = field(repr=False)
    confidences: Floats = field(repr=False)
    start_ms: npt.NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.emotions)


@dataclass(frozen=True, kw_only=True, eq=False)
class Result(_Verdict):
    """The emotion of a recording; `unknown` where nobody speaks.

    `frames` at granularity "frame" only. `embedding`: float32 (embedding_size,), where one was asked for;
    `no_embedding` says why there is none although it was. `timestamp`: of the scoring, local; `timestamp_utc`: ISO
    8601 with its zone.
    """

    granularity: str
    timestamp: str
    timestamp_utc: str
    model: str
    duration_s: float
    prior: str = "balanced"  # what the model took to be likely: balanced, conversation, or custom weights
    model_fingerprint: str = ""  # tells its weights from others of its name; "": it gives no embeddings
    file_name: str = ""  # the recording's own; "" for an array
    verdict: str = "normal"  # the worst alert rule that was raised
    alerts: list[JsonDict] = field(default_factory=list, repr=False)  # as in result.json
    utterances: tuple[Utterance, ...] = field(repr=False)
    frames: Frames | None = None
    embedding: Floats | None = field(default=None, repr=False)
    no_embedding: str | None = None
    similarity_to_sample: float | None = None  # cosine to the nearest reference sample, where there are any
    similarity_to_samples: dict[str, float] | None = None  # and to each by its name

    @classmethod
    def of(cls, found: Recording, labels_zh: Mapping[str, str]) -> Result:
        """What was found in a recording; `labels_zh`: the Chinese word of each label."""
        told = found.result()
        utterances = tuple(
            Utterance(
                emotion_zh=labels_zh[said["emotion"]],
                custom_labels=said.get("taught"),
                **{k: v for k, v in said.items() if k != "taught"},
            )
            for said in told["utterances"]
        )
        frames = None
        if found.granularity == "frame":
            starts = np.array(told["frame_start_ms"], np.int64)
            named = (told[f"frame_{name}"] for name in ("scores", "emotions", "confidences"))
            frames = Frames(
                **dict(zip(("scores", "emotions", "confidences"), named, strict=True)), start_ms=starts
            )
        return cls(
            **found.verdict,
            **found.head,
            emotion_zh=labels_zh[found.verdict["emotion"]],
            custom_labels=found.custom_label,
            utterances=utterances,
            frames=frames,
            embedding=found.embedding,
            no_embedding=found.no_embedding,
            **found.similarity,
        )

    def to_dict(self) -> JsonDict:
        """The fields of result.json, ready for any JSON library; the embedding is not among them."""
        known = {name: getattr(self, name) for name in _HEAD}
        head = {name: value for name, value in known.items() if value or name not in _WHERE_KNOWN}
        told = {**{name: getattr(self, name) for name in _SCORED}, **head}
        if self.frames is not None:
            for name in ("scores", "emotions", "confidences"):
                told[f"frame_{name}"] = getattr(self.frames, name)
            told["frame_start_ms"] = self.frames.start_ms
        near = {name: getattr(self, name) for name in _SIMILAR if self.similarity_to_samples is not None}
        told |= {
            **_taught(self.custom_labels),
            **near,
            "utterances": [said.to_dict() for said in self.utterances],
        }
        plain: dict[str, Any] = wire.Json.loads(wire.Json.dumps(told))  # arrays as lists, of as many digits
        return plain


_SCORED = ("emotion", "confidence", "ambiguous", "uncertain", "second", "arousal", "valence", "scores")
_SIMILAR = ("similarity_to_sample", "similarity_to_samples")
_WHERE_KNOWN = ("file_name", "model_fingerprint")
_HEAD = (
    "granularity",
    "timestamp",
    "timestamp_utc",
    "model",
    "duration_s",
    "prior",
    *_WHERE_KNOWN,
    "verdict",
    "alerts",
)


def _taught(custom_labels: JsonDict | None) -> JsonDict:
    return {} if custom_labels is None else {"taught": custom_labels}
