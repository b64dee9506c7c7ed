"""Many clips through the product's own session and model at once: what it says of each, whole and live.

Every clip is a `StreamSession` of its own, given all of its samples. Windows are cut as for a listener in real
time, one per hop, so that the session's own smoothed state is what such a listener has seen. Those of many
sessions that are alike are scored together, which is what makes it quick. The result is that of
`stream.offline.run` to 1e-5. Nothing here knows of labels, files or corpora.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from stream.batching import Kind
from stream.gate import GateConfig, SpeechGate
from stream.ring import RingBuffer
from stream.session import StreamConfig, StreamSession
from stream.types import (
    FRAME,
    HOP,
    SAMPLE_RATE,
    EmotionModel,
    Floats,
    FramesScored,
    SpeechStarted,
    Turn,
    UtteranceScored,
    Window,
)
from stream.utterance import Utterance

COMPANY = 3  # sessions at once per window of a batch: enough for most batches to be full


@dataclass(frozen=True, eq=False)
class Task:
    """A clip to listen to: samples (n,) at 16 kHz.

    `start`: the frame at which speech began, where that is known better than from these samples: in noise the
    gate may open on the noise. None: where it opens.
    """

    key: int
    samples: Floats
    start: int | None = None


@dataclass(frozen=True, eq=False)
class Heard:
    """What the product said of one clip; None where it said nothing.

    `whole`: probabilities (N_LABELS,) over all frames of speech. `live`: what a listener saw at each of the
    times asked for. `ongoing`: whether the clip's speech still went on at that time, or had ended before.
    """

    whole: Floats | None
    live: tuple[Floats | None, ...]
    ongoing: tuple[bool, ...]
    speech_frames: int


@dataclass(eq=False)
class _Listener:
    """One clip on its way through its session."""

    key: int
    session: StreamSession
    start: int | None  # frame at which speech began
    whole: Utterance = field(default_factory=Utterance)
    scored: list[FramesScored] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # frames [start, end)

    def take(self, turn: Turn) -> Window | None:
        for event in turn.events:
            if isinstance(event, SpeechStarted) and self.start is None:
                self.start = event.frame
            elif isinstance(event, FramesScored):
                self.whole.add(event.scores)
                self.scored.append(event)
            elif isinstance(event, UtteranceScored):
                self.spans.append((event.start, event.end))
        return turn.window


def listen(
    clips: Iterable[Task],
    model: EmotionModel,
    config: StreamConfig,
    times_s: Sequence[float] = (),
    max_batch: int = 32,
) -> Iterator[tuple[int, Heard]]:
    """What is heard in each of `clips`, by its key; in no particular order.

    `times_s`: seconds after speech began at which the live state is read. `max_batch`: windows.
    """
    coming = iter(clips)
    waiting: dict[Kind, list[tuple[_Listener, Window]]] = defaultdict(list)
    mixed = model.spec.mixed_frames
    n_waiting, exhausted = 0, False
    while not exhausted or n_waiting:
        while not exhausted and n_waiting < COMPANY * max_batch:
            clip = next(coming, None)
            if clip is None:
                exhausted = True
                break
            listener, window = _begin(clip, config)
            if window is None:
                yield listener.key, _conclude(listener, config, times_s)
            else:
                waiting[Kind.of(window, mixed)].append((listener, window))
                n_waiting += 1
        if not n_waiting:
            continue
        # The kind that most windows are of: the others gain company meanwhile, and none waits for ever.
        kind = max(waiting, key=lambda at: len(waiting[at]))
        batch, waiting[kind] = waiting[kind][:max_batch], waiting[kind][max_batch:]
        answers = model.score([window for _, window in batch])
        for (listener, window), answer in zip(batch, answers, strict=True):
            following = listener.take(listener.session.absorb(window, answer))
            if following is None:
                n_waiting -= 1
                yield listener.key, _conclude(listener, config, times_s)
            else:
                waiting[Kind.of(following, mixed)].append((listener, following))


def speech_start(samples: Floats, config: GateConfig) -> int | None:
    """The frame at which the gate first opens in samples (n,); None where it never does."""
    ring = RingBuffer(max(1, len(samples)))
    ring.write(samples)
    edges = SpeechGate(config).advance(ring)
    return edges[0].frame if edges else None


def _begin(clip: Task, config: StreamConfig) -> tuple[_Listener, Window | None]:
    """Give a new session all the samples there are; its first window, None where there is no speech."""
    capacity = max(1, len(clip.samples))
    session = StreamSession("clip", replace(config, max_hop=config.hop, ring=capacity))
    listener = _Listener(clip.key, session, clip.start)
    first = listener.take(session.push(clip.samples))
    return listener, listener.take(session.flush()) or first


def _conclude(listener: _Listener, config: StreamConfig, times_s: Sequence[float]) -> Heard:
    n_frames = listener.whole.n_frames
    if not n_frames or listener.start is None:
        return Heard(None, (None,) * len(times_s), (False,) * len(times_s), 0)
    limits = [listener.start * HOP + round(t * SAMPLE_RATE) for t in times_s]
    last = _end_sample(listener.spans[-1][1])
    return Heard(
        whole=listener.whole.probs(),
        live=tuple(_seen(listener, config, limit) for limit in limits),
        ongoing=tuple(last >= limit for limit in limits),
        speech_frames=n_frames,
    )


def _seen(listener: _Listener, config: StreamConfig, limit: int) -> Floats | None:
    """The state of the last result that needs no audio from sample `limit` on.

    A result needs its frames, and as many after them, inside their span, as the model wants on its right.
    """
    seen = None
    for event in listener.scored:
        scored_to = event.first_frame + len(event.probs)
        span_end = next(end for _, end in listener.spans if scored_to <= end)
        if _end_sample(min(scored_to + config.right, span_end)) <= limit:
            seen = event.smoothed
    return seen


def _end_sample(frame: int) -> int:
    """The sample at which the frames below `frame` have ended."""
    return (frame - 1) * HOP + FRAME
