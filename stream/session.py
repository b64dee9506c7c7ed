"""StreamSession: samples in, windows and events out. One speaker's whole story, without a clock.

`push` takes samples, `absorb` takes a model's answer; both return a Step: what to tell, and the next window
to have scored. One window at a time is out for scoring: audio that arrives meanwhile waits in the ring and
joins the next window, so under load windows grow and nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stream.framing import Framer
from stream.gate import GateConfig, SpeechGate
from stream.ring import RingBuffer
from stream.smoothing import Smoother
from stream.types import (
    HOP,
    N_LABELS,
    SAMPLE_RATE,
    Answer,
    Cut,
    Failed,
    FailureCode,
    Floats,
    FramesScored,
    Lost,
    SpeechEnded,
    SpeechStarted,
    Step,
    StreamEvent,
    UtteranceScored,
    Window,
    ceil_div,
    frames_in,
    samples_for,
    softmax,
)
from stream.utterance import Utterance


@dataclass(frozen=True)
class StreamConfig:
    """How a session listens. Frames and hops of 10 ms, samples at 16 kHz."""

    gate: GateConfig = field(default_factory=GateConfig)
    hop: int = 10
    max_hop: int = 80
    left: int = 0  # context of a window, as the model wants it
    right: int = 0
    ring: int = 10 * SAMPLE_RATE
    smoothing: float = 50.0  # time constant, frames
    embed: bool = False  # ask for embeddings: utterances carry theirs
    background: bool = False  # a file: live windows go first


class StreamSession:
    """The life of one stream of samples. Not thread-safe: its owner calls it from one place at a time."""

    def __init__(self, session_id: str, config: StreamConfig) -> None:
        self.session_id = session_id
        self._ring = RingBuffer(config.ring + HOP)  # the gate may be a hop behind
        self._max_push = config.ring
        self._embed, self._background = config.embed, config.background
        self._gate = SpeechGate(config.gate)
        self._framer = Framer(config.hop, config.max_hop, config.left, config.right)
        self._smoother = Smoother(config.smoothing)
        self._scored_to = 0  # the frame after the last one scored
        self._utterance = Utterance()
        self._model_state: Floats | None = None
        self._in_flight: Window | None = None
        self._told_lost = False  # of the window that is out: its answer, if it comes, is too late
        self._speech_from: int | None = None
        self.frames_by_label = np.zeros(N_LABELS, np.int64)  # scored frames by their likeliest label
        self.speech_frames = 0
        self.lost_frames = 0

    @property
    def received(self) -> int:
        """Samples received so far."""
        return self._ring.end

    @property
    def speech_so_far(self) -> int:
        """Frames inside detected speech, those of a span still open included."""
        still_open = 0 if self._speech_from is None else frames_in(self._ring.end) - self._speech_from
        return self.speech_frames + max(0, still_open)

    @property
    def settled(self) -> bool:
        """Nothing is out for scoring that will be told, and no detected speech waits for it."""
        return self._due is None and not self._framer.waiting

    @property
    def waits_since(self) -> int | None:
        """The audio before this sample completed the oldest window that waits for the model; None: none does.

        While no window is out, speech waits for nothing but more audio.
        """
        if self._in_flight is None or self._due is not None:
            return None if self._in_flight is None else self._in_flight.end_sample
        return self._framer.next_frame * HOP if self._framer.waiting else None

    @property
    def watermark_frame(self) -> int:
        """Results are final before this frame: scored, lost, or found to be silence. It only grows."""
        if self._due is not None:
            return self._due.first_frame
        return self._framer.next_frame if self._framer.waiting else self._gate.quiet_to

    def push(self, samples: Floats) -> Step:
        """Take samples (n,) in. Raises ValueError for more than `config.ring` at once."""
        if len(samples) > self._max_push:
            raise ValueError(f"{len(samples)} samples at once; the ring holds {self._max_push}")
        self._ring.write(samples)
        events: list[StreamEvent] = []
        self._mark_edges(self._gate.advance(self._ring), events)
        return self._next_step(events)

    def flush(self) -> Step:
        """Close open speech where the audio ends now; `settled` tells when all of it has been scored."""
        events: list[StreamEvent] = []
        self._mark_edges(self._gate.close(frames_in(self._ring.end)), events)
        return self._next_step(events)

    def give_up(self, code: FailureCode) -> Step:
        """Name everything that waits for scores as lost; the answer to the window that is out comes too late."""
        events: list[StreamEvent] = []
        if self._due is not None:
            self._lose(Lost(self._due.first_frame, self._due.n_frames, code), events)
        self._in_flight, self._told_lost = None, False
        self._settle_spans(frames_in(self._ring.end), code, events)
        return Step(tuple(events))

    def slow_down(self, factor: int) -> int:
        """Longer windows from now on: `factor` hops of audio at least, as far as `max_hop` goes; in frames."""
        return self._framer.slow_down(factor)

    def shed(self, before: int, code: FailureCode = "OVERLOADED") -> Step:
        """Tell as lost what waits for scores and lies before frame `before`.

        A window that is out is told as lost when all of it does. Its answer is awaited, so that no second one of
        this session is out, and then passed over.
        """
        events: list[StreamEvent] = []
        due = self._due
        if due is not None and due.first_frame + due.n_frames <= before:
            self._lose(Lost(due.first_frame, due.n_frames, code), events)
            self._told_lost = True
        if self._due is None:
            self._settle_spans(min(before, frames_in(self._ring.end)), code, events)
        return Step(tuple(events))

    def absorb(self, window: Window, answer: Answer) -> Step:
        """Take the answer to the window that is out. Raises ValueError for any other window."""
        if window is not self._in_flight:
            raise ValueError(f"frame {window.first_frame} of {self.session_id} is not out for scoring")
        told_lost, self._in_flight, self._told_lost = self._told_lost, None, False
        events: list[StreamEvent] = []
        if told_lost:
            return self._next_step(events)
        if isinstance(answer, Failed):
            self._lose(Lost(window.first_frame, window.n_frames, answer.code), events)
        else:
            self._model_state = answer.state
            self._utterance.add(answer)
            probs = softmax(answer.logits)
            self.frames_by_label += np.bincount(probs.argmax(axis=1), minlength=N_LABELS)
            self._smoother.rest(window.first_frame - self._scored_to)
            self._scored_to = window.first_frame + window.n_frames
            smoothed = self._smoother.update(probs, answer.weights)
            events.append(FramesScored(window.first_frame, answer, probs, smoothed))
        return self._next_step(events)

    def _next_step(self, events: list[StreamEvent]) -> Step:
        """When nothing is out: close what is complete, cut the next window.

        What the ring has dropped meanwhile is lost only now, so that losses and scores are told in order.
        """
        if self._in_flight is not None:
            return Step(tuple(events))
        self._settle_spans(self._first_held, "OVERLOADED", events)
        cut = self._framer.next_cut(frames_in(self._ring.end))
        if cut is not None:
            self._in_flight = self._window(cut)
        return Step(tuple(events), self._in_flight)

    def _settle_spans(self, lost_before: int, code: FailureCode, events: list[StreamEvent]) -> None:
        """Give up frames below `lost_before`; tell the utterances of the spans that are complete."""
        while True:
            if lost := self._framer.give_up_before(lost_before, code):
                self._lose(lost, events)
            span = self._framer.take_finished()
            if span is None:
                return
            done, self._utterance = self._utterance, Utterance()
            if done.n_frames and span.end is not None:
                verdict = UtteranceScored(span.start, span.end, done.n_frames, done.probs(), done.embedding)
                events.append(verdict)

    @property
    def _due(self) -> Window | None:
        """The window that is out, unless it was told as lost."""
        return None if self._told_lost else self._in_flight

    @property
    def _first_held(self) -> int:
        """The first frame of which the ring still holds every sample."""
        return ceil_div(self._ring.start, HOP)

    def _window(self, cut: Cut) -> Window:
        """The cut with its samples. Context that the ring no longer holds is left out."""
        left = min(cut.left, cut.first_frame - self._first_held)
        first_sample = (cut.first_frame - left) * HOP
        n_samples = samples_for(left + cut.n_frames + cut.right)
        return Window(
            session_id=self.session_id,
            first_frame=cut.first_frame,
            n_frames=cut.n_frames,
            starts_span=cut.starts_span,
            samples=self._ring.read(first_sample, first_sample + n_samples),
            state=self._model_state,
            left_frames=left,
            right_frames=cut.right,
            embed=self._embed,
            background=self._background,
        )

    def _mark_edges(self, edges: list[SpeechStarted | SpeechEnded], events: list[StreamEvent]) -> None:
        for edge in edges:
            if isinstance(edge, SpeechStarted):
                self._framer.open(edge.frame)
                self._speech_from = edge.frame
            else:
                self._framer.close(edge.frame)
                self.speech_frames += edge.frame - (self._speech_from or 0)
                self._speech_from = None
        events.extend(edges)

    def _lose(self, lost: Lost, events: list[StreamEvent]) -> None:
        self.lost_frames += lost.n_frames
        events.append(lost)
