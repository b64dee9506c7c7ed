"""The vocabulary that passes between rooms.

Positions are integers: samples at 16 kHz, or frames (25 ms long, one every 10 ms), both counted
from the first sample of the session. Milliseconds and seconds are for people: what is said to them, and what they
write in the settings, is converted at the door by the constants below. Arrays are float32 and C-contiguous.
Nothing here imports anything but numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

JsonDict = dict[str, Any]
Floats = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
HOP = SAMPLE_RATE // 100  # 10 ms: where frames start, and the grid of the speech gate
FRAME = SAMPLE_RATE // 40  # 25 ms: how long a frame is
FRAMES_PER_S = SAMPLE_RATE // HOP
STEP_MS = 1000 * HOP // SAMPLE_RATE  # from where one frame starts to where the next one does
FRAME_MS = 1000 * FRAME // SAMPLE_RATE

LABELS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
N_LABELS = len(LABELS)
LABELS_ZH = ("生气", "厌恶", "恐惧", "开心", "中立", "其他", "难过", "吃惊", "未知")
LabelSet = Literal["emotion2vec", "common"]
# Their Chinese names: those of emotion2vec's own labels, or those that most programs show.
LABEL_SETS_ZH: dict[LabelSet, tuple[str, ...]] = {
    "emotion2vec": LABELS_ZH,
    "common": ("愤怒", "厌恶", "恐惧", "快乐", "中性", "其他", "悲伤", "惊讶", "未知"),
}

# The logit of a label that a model cannot produce. Finite, so that means and products stay finite;
# softmax gives exactly 0 in float32.
IMPOSSIBLE = -1e4

# Labels that say what somebody feels: all but neutral, other and unknown.
EMOTIONS = tuple(i for i, label in enumerate(LABELS) if label not in ("neutral", "other", "unknown"))

UNCERTAIN = 0.5  # an answer less sure than this is wrong more often than right
PRESENT = 0.25  # a label is there from so much on, where nothing else is asked
AMBIGUOUS = 0.1  # a first label that leads the second by less (in probability) is no clear answer
DIGITS = 6  # of a probability, wherever one is written down


def frames_in(n_samples: int) -> int:
    """How many whole frames fit into `n_samples` samples."""
    return max(0, (n_samples - FRAME) // HOP + 1)


def samples_for(n_frames: int) -> int:
    """How many samples `n_frames` consecutive frames cover."""
    return (n_frames - 1) * HOP + FRAME if n_frames > 0 else 0


def ceil_div(n: int, d: int) -> int:
    """n / d, rounded up; d > 0."""
    return -(-n // d)


@dataclass(frozen=True)
class Span:
    """A stretch of detected speech: frames `start` up to, not including, `end` (None: still going on)."""

    start: int
    end: int | None = None


@dataclass(frozen=True)
class Cut:
    """Which frames to score next: integers only, the samples come from the ring."""

    first_frame: int
    n_frames: int
    starts_span: bool
    left: int = 0  # frames of context before and after those to score
    right: int = 0


@dataclass(frozen=True, eq=False)
class Window:
    """One request to a model: `n_frames` frames of one session and the samples they cover.

    `state` is what the model returned with the session's previous window (None: the session's first):
    a model keeps nothing between calls, so any replica can serve any window, and a crash loses nothing.
    """

    session_id: str
    first_frame: int
    n_frames: int
    starts_span: bool
    samples: Floats  # (samples_for(left_frames + n_frames + right_frames),)
    state: Floats | None  # (spec.state_size,)
    # Context: frames before those to score, fewer than the model's at a session's start; and after them, fewer at
    # the end of a span.
    left_frames: int = 0
    right_frames: int = 0
    embed: bool = False  # the answer is to carry an embedding
    background: bool = False  # of a file: nobody waits for it while they speak, live windows go first

    @property
    def end_sample(self) -> int:
        """Index of the first sample after those that this window needs."""
        return (self.first_frame - self.left_frames) * HOP + len(self.samples)

    @property
    def n_rows(self) -> int:
        """How many rows of logits its answer has."""
        return self.n_frames


@dataclass(frozen=True, eq=False)
class RecordingWindow(Window):
    """A recording, or a segment of a long one, scored as a whole (`stream.full_recording`).

    Its answer is one row of logits, whose weight is the number of the model's own frames that it is the mean of.
    The last one reaches to the recording's last sample, which may lie beyond its last frame.
    """

    @property
    def n_rows(self) -> int:
        """One: the recording's answer is a single row of logits."""
        return 1


@dataclass(frozen=True, eq=False)
class FrameScores:
    """A model's answer to one window; rows are frames, but for a `RecordingWindow`.

    The scores of a frame are softmax(logits). Those of an utterance are the softmax of the mean of its
    frames' logits weighted by `weights`, times `gain`: weights of one are a plain mean, attention pooling gives
    others. A gain above 1: many frames together are surer than one, and their mean would not show it.
    """

    logits: Floats  # (n_frames, N_LABELS)
    weights: Floats  # (n_frames,), > 0
    state: Floats | None  # (spec.state_size,)
    # (spec.embedding_size,): the mean of the frames' features weighted by `weights`, where the window asks for it
    embedding: Floats | None = None
    gain: float = 1.0


# Why frames are not scored; among the contract's error codes.
FailureCode = Literal["NOT_READY", "OVERLOADED", "INFERENCE_TIMEOUT", "INFERENCE_FAILED"]


@dataclass(frozen=True)
class Failed:
    """Why a window got no scores."""

    code: FailureCode
    message: str


Answer = FrameScores | Failed


@dataclass(frozen=True)
class ModelSpec:
    """What a model says of itself.

    `hop_frames`: windows are cut in multiples of this many frames (except the last of a span).
    `lookahead_frames`: how many frames after frame i may influence its scores.
    `left_frames`, `right_frames`: context that windows carry beside the frames to score, for models that keep no
    state. `fixed_hop`: windows may not grow under load, since scores depend on the window.
    `recording_frames` > 0: its verdict on a recording is defined on the full recording, not on the frames of its
    speech (`stream.full_recording`); this many frames at most are scored at once, a longer one in segments.
    """

    name: str
    device: str
    dtype: str
    hop_frames: int
    lookahead_frames: int
    state_size: int
    supported_labels: tuple[str, ...] = field(
        default=LABELS
    )  # labels it can produce; the others always score 0
    left_frames: int = 0
    right_frames: int = 0
    fixed_hop: bool = False
    best_batch: int = 1 << 16  # windows beyond which a larger batch is no faster, only later
    embedding_size: int = 0  # 0: it gives none
    recording_frames: int = 0
    mixed_frames: int = 0  # windows of up to as many frames may share a batch, however many each has
    fingerprint: str = (
        ""  # tells its weights from others (`stream.fingerprint`); empty: it gives no embeddings
    )
    runtime: str = "torch"  # what computes it: torch, onnx (ONNX Runtime) or numpy
    prior: str = "balanced"  # what it takes to be likely before it has heard anything (`stream.prior`)
    measured: JsonDict | None = None  # how far to believe it, for people (docs/adding-a-model.md)
    # A process that says nothing for so long is not at work any more, however slow the machine.
    heartbeat_timeout_s: float = 20.0


class EmotionModel(Protocol):
    """What every model offers. `score` is called from one thread at a time."""

    spec: ModelSpec  # what it is and what it needs; the same all its life, once it has been loaded

    def score(self, windows: list[Window]) -> list[FrameScores]:
        """Score windows that are alike (`stream.batching.Kind`); one answer per window, in order.

        An answer must depend on its own window alone, never on who shares the batch (to 1e-5).
        """
        ...


@runtime_checkable
class Interruptible(Protocol):
    """What a model may offer besides, if a background window keeps it busy for long.

    The engine sets `yield_point`; the model calls it between the layers of background work, on the thread that
    called `score`. Live windows are scored in there, by a `score` within that `score`.
    """

    yield_point: Callable[[], None]


@runtime_checkable
class CountsFallbacks(Protocol):
    """What a model may offer besides, if it can make do with less memory."""

    @property
    def fallbacks(self) -> dict[str, int]:
        """How often it had to since it was loaded, by remedy: `halved` a batch, scored a window on the `cpu`."""
        ...


@runtime_checkable
class ClassifiesEmbeddings(Protocol):
    """What a model may offer besides, if its embeddings hold enough to be scored without the sound."""

    def classify(self, embedding: Floats) -> Floats:
        """Logits (N_LABELS,) of what has this embedding (spec.embedding_size,), gain included: a recording's, or
        an utterance's. Any thread may call it, while another is in `score`."""
        ...


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, float32; rows sum to 1."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32, copy=False)
    return result


# -- What a session tells its owner ------------------------------------------------------------------


@dataclass(frozen=True)
class SpeechStarted:
    """A span begins at `frame`."""

    frame: int


@dataclass(frozen=True)
class SpeechEnded:
    """A span ends before `frame`."""

    frame: int


@dataclass(frozen=True, eq=False)
class FramesScored:
    """The scores of consecutive frames."""

    first_frame: int
    scores: FrameScores
    probs: Floats  # (n_frames, N_LABELS), rows sum to 1
    smoothed: Floats  # (N_LABELS,): the smoothed state after the last of these frames


@dataclass(frozen=True, eq=False)
class UtteranceScored:
    """The result of a span."""

    start: int  # frames [start, end)
    end: int
    n_scored: int  # how many of them were scored (the others are in Lost)
    probs: Floats  # (N_LABELS,)
    embedding: Floats | None = None  # (spec.embedding_size,), where the session asks for it
    custom: JsonDict | None = None  # what labels of the operator's own say of it, filled in by who knows them


@dataclass(frozen=True)
class Lost:
    """Frames of detected speech that will not be scored, and why."""

    first_frame: int
    n_frames: int
    code: FailureCode


StreamEvent = SpeechStarted | SpeechEnded | FramesScored | UtteranceScored | Lost
_PLACES: dict[type, tuple[str, ...]] = {
    SpeechStarted: ("frame",),
    SpeechEnded: ("frame",),
    FramesScored: ("first_frame",),
    UtteranceScored: ("start", "end"),
    Lost: ("first_frame",),
}


def later(event: StreamEvent, n_frames: int) -> StreamEvent:
    """The same, so many frames later."""
    return replace(event, **{place: getattr(event, place) + n_frames for place in _PLACES[type(event)]})


@dataclass(frozen=True)
class Step:
    """What a session does next: emit these events, and have this window scored (None: nothing to score)."""

    events: tuple[StreamEvent, ...] = ()
    window: Window | None = None
