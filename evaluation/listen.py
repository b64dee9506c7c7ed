"""Many clips through the product's own session and model at once: what it says of each, whole and live.

Every task is a `StreamSession` of its own, given all of its samples: those of one clip, or of several that follow
each other as utterances of a conversation do. Windows are cut as for a listener in real time, one per hop, so that
the session's own smoothed state is what such a listener has seen. Those of many sessions that are alike are scored
together, which is what makes it quick. The result is that of `stream.offline.run` to 1e-5. Nothing here knows of
labels, files or corpora.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from stream.batching import Kind
from stream.gate import GateConfig, SpeechGate
from stream.ring import RingBuffer
from stream.rules import Alert, Rule, RuleEngine
from stream.session import StreamConfig, StreamSession
from stream.types import (
    FRAME,
    HOP,
    SAMPLE_RATE,
    EmotionModel,
    Floats,
    FramesScored,
    SpeechStarted,
    Step,
    UtteranceScored,
    Window,
)
from stream.utterance import Utterance

PARALLEL = 3  # sessions at once per window of a batch: enough for most batches to be full


@dataclass(frozen=True)
class Piece:
    """One clip of a session. `first`: the frame from which on what is heard is its own.

    `start`: the frame at which its speech began, where that is known better than from these samples: in noise the
    gate may open on the noise. None: where it opens.
    """

    key: int
    first: int = 0
    start: int | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """A session to listen to: samples (n,) at 16 kHz, and the clips in them, one behind the other."""

    pieces: tuple[Piece, ...]
    samples: Floats


@dataclass(frozen=True, eq=False)
class Heard:
    """What the product said of one clip; None where it said nothing.

    `whole`: probabilities (N_LABELS,) over all frames of speech. `live`: what a listener saw at each of the
    times asked for. `ongoing`: whether the clip's speech still went on at that time, or had ended before.
    `alerts`: the labels of those that were raised.
    """

    whole: Floats | None
    live: tuple[Floats | None, ...]
    ongoing: tuple[bool, ...]
    speech_frames: int
    alerts: tuple[int, ...] = ()


@dataclass(eq=False)
class _Notes:
    """What has been said of one clip so far."""

    key: int
    start: int | None  # frame at which speech began
    whole: Utterance = field(default_factory=Utterance)
    scored: list[FramesScored] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # frames [start, end)
    alerts: list[int] = field(default_factory=list)


class _Listener:
    """One session on its way."""

    def __init__(self, task: Task, session: StreamSession, rules: Sequence[Rule]) -> None:
        self.session, self._rules = session, RuleEngine(rules)
        self.notes = [_Notes(piece.key, piece.start) for piece in task.pieces]
        self._firsts = [piece.first for piece in task.pieces]

    def take(self, step: Step) -> Window | None:
        for event in step.events:
            if isinstance(event, SpeechStarted):
                notes = self._at(event.frame)
                notes.start = event.frame if notes.start is None else notes.start
            elif isinstance(event, FramesScored):
                notes = self._at(event.first_frame)
                notes.whole.add(event.scores)
                notes.scored.append(event)
                self._alert(self._rules.frames(None, event.first_frame, event.probs))
            elif isinstance(event, UtteranceScored):
                self._at(event.start).spans.append((event.start, event.end))
                self._alert(self._rules.utterance(None, event))
        return step.window

    def _alert(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            if alert.state == "raised":
                self._at(alert.frame - 1).alerts.append(alert.label)

    def _at(self, frame: int) -> _Notes:
        return self.notes[bisect_right(self._firsts, frame) - 1]


def listen(
    tasks: Iterable[Task],
    model: EmotionModel,
    config: StreamConfig,
    times_s: Sequence[float] = (),
    max_batch: int = 32,
    rules: Sequence[Rule] = (),
) -> Iterator[tuple[int, Heard]]:
    """What is heard in each clip of `tasks`, by its key; in no particular order.

    `times_s`: seconds after speech began at which the live state is read. `max_batch`: windows. `rules`: those by
    which alerts are raised.
    """
    coming = iter(tasks)
    waiting: dict[Kind, list[tuple[_Listener, Window]]] = defaultdict(list)
    mixed = model.spec.mixed_frames
    n_waiting, exhausted = 0, False
    while not exhausted or n_waiting:
        while not exhausted and n_waiting < PARALLEL * max_batch:
            task = next(coming, None)
            if task is None:
                exhausted = True
                break
            listener, window = _begin(task, config, rules)
            if window is None:
                yield from _conclude(listener, config, times_s)
            else:
                waiting[Kind.of(window, mixed)].append((listener, window))
                n_waiting += 1
        if not n_waiting:
            continue
        # The kind that most windows are of: the others gain batch mates meanwhile, and none waits for ever.
        kind = max(waiting, key=lambda at: len(waiting[at]))
        batch, waiting[kind] = waiting[kind][:max_batch], waiting[kind][max_batch:]
        answers = model.score([window for _, window in batch])
        for (listener, window), answer in zip(batch, answers, strict=True):
            following = listener.take(listener.session.absorb(window, answer))
            if following is None:
                n_waiting -= 1
                yield from _conclude(listener, config, times_s)
            else:
                waiting[Kind.of(following, mixed)].append((listener, following))


def speech_start(samples: Floats, config: GateConfig) -> int | None:
    """The frame at which the gate first opens in samples (n,); None where it never does."""
    ring = RingBuffer(max(1, len(samples)))
    ring.write(samples)
    edges = SpeechGate(config).advance(ring)
    return edges[0].frame if edges else None


def _begin(task: Task, config: StreamConfig, rules: Sequence[Rule]) -> tuple[_Listener, Window | None]:
    """Give a new session all the samples there are; its first window, None where there is no speech."""
    capacity = max(1, len(task.samples))
    session = StreamSession("clip", replace(config, max_hop=config.hop, ring=capacity))
    listener = _Listener(task, session, rules)
    first = listener.take(session.push(task.samples))
    return listener, listener.take(session.flush()) or first


def _conclude(
    listener: _Listener, config: StreamConfig, times_s: Sequence[float]
) -> Iterator[tuple[int, Heard]]:
    for notes in listener.notes:
        yield notes.key, _heard(notes, config, times_s)


def _heard(notes: _Notes, config: StreamConfig, times_s: Sequence[float]) -> Heard:
    n_frames = notes.whole.n_frames
    if not n_frames or notes.start is None:
        return Heard(None, (None,) * len(times_s), (False,) * len(times_s), 0)
    limits = [notes.start * HOP + round(t * SAMPLE_RATE) for t in times_s]
    last = _end_sample(notes.spans[-1][1])
    return Heard(
        whole=notes.whole.probs(),
        live=tuple(_seen(notes, config, limit) for limit in limits),
        ongoing=tuple(last >= limit for limit in limits),
        speech_frames=n_frames,
        alerts=tuple(notes.alerts),
    )


def _seen(notes: _Notes, config: StreamConfig, limit: int) -> Floats | None:
    """The state of the last result that needs no audio from sample `limit` on.

    A result needs its frames, and as many after them, inside their span, as the model wants on its right.
    """
    seen = None
    for event in notes.scored:
        scored_to = event.first_frame + len(event.probs)
        span_end = next(end for _, end in notes.spans if scored_to <= end)
        if _end_sample(min(scored_to + config.right, span_end)) <= limit:
            seen = event.smoothed
    return seen


def _end_sample(frame: int) -> int:
    """The sample at which the frames below `frame` have ended."""
    return (frame - 1) * HOP + FRAME
