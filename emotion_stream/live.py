"""A live session without a server: samples in, events out."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from emotion_stream_client.audio import Audio, Format
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Event, SpanResult, build, event_of

from server import wire
from server.engine import Busy, Engine
from server.language import Language, in_language
from server.observers import Counters, SessionSummary
from stream import codec
from stream.custom_labels import CustomLabels
from stream.history import ScoreHistory
from stream.offline import PIECE
from stream.session import StreamSession
from stream.source import StreamSource
from stream.types import (
    STEP_MS,
    Answer,
    Failed,
    Floats,
    FramesScored,
    JsonDict,
    Step,
    StreamEvent,
    UtteranceScored,
    Window,
    ceil_div,
)

KEPT = 1000  # utterances that the summary tells, the last ones


class LiveStream:
    """Made by `EmotionModel.stream`. Of one thread at a time; streams of one model do not disturb each other.

    Its events are those of the Python client, as the server would tell them of the same audio: `Speech`, `Result`,
    `Utterance`, `Lost`, with `frame_results` a `Frame` for each frame, and at the end a `Summary`. Alert rules
    are the server's, and not applied. However the audio is cut into chunks, the scores are the same.
    """

    def __init__(
        self,
        engine: Engine,
        session: StreamSession,
        declared: codec.Format,
        labels: CustomLabels | None,
        frame_results: bool,
        language: Language = "en",
    ) -> None:
        """`language`: of what errors say.

        Raises ValueError (`codec.UnsupportedEncoding`) for a format that is not read."""
        assert engine.spec is not None
        self._engine, self._session, self._labels = engine, session, labels
        self._frame_results, self._language = frame_results, language
        self._model = engine.spec.name
        self._format = Format(declared.encoding, declared.sample_rate, declared.channels)
        self._source = StreamSource(declared.of_samples.encoding)
        self._decoder = codec.Decoder(declared)
        self._utterances: deque[JsonDict] = deque(maxlen=KEPT)
        self._history = ScoreHistory()
        self._ended = False

    def push(self, audio: Audio) -> list[Event]:
        """Take audio in, and tell what is new; it is scored before this returns.

        `audio`: bytes in the stream's encoding, or samples: float -1 to 1 or int16, (n,) or (n, channels). Raises
        EmotionError BAD_AUDIO, UNSUPPORTED_ENCODING, or CLOSED after `finish`; TypeError for what is no audio.
        """
        self._check_open()
        chunk = self._source.sort(self._format.to_bytes(audio))
        if chunk.kind == "refused":
            self._source = chunk.after
            raise self._refusal("UNSUPPORTED_ENCODING", chunk.after.advice)
        try:
            samples = self._decoder.decode(chunk.data)
        except codec.BadAudio as wrong:
            raise self._refusal("BAD_AUDIO", str(wrong)) from None
        except codec.UnsupportedEncoding as wrong:
            raise self._refusal("UNSUPPORTED_ENCODING", str(wrong)) from None
        self._source = chunk.after
        return self._take(samples)

    def span(self, begin_ms: int, end_ms: int, present: Mapping[str, float] | None = None) -> SpanResult:
        """The scores of a stretch of the last ten minutes, as the Python client's `span` tells them.

        `present`: thresholds of labels, where 0.25 is not wanted. Raises ValueError where nothing is in between.
        """
        if not 0 <= begin_ms < end_ms:
            raise ValueError(f"from {begin_ms} to {end_ms} ms there is nothing")
        start, end = (ceil_div(ms, STEP_MS) for ms in (begin_ms, end_ms))
        stretch = self._history.stretch(start, end, self._session.watermark_frame)
        return build(SpanResult, "span", wire.span(self._session.session_id, None, stretch, present or {}))

    def finish(self) -> list[Event]:
        """End the stream: the rest of the events, a `Summary` last. Raises EmotionError CLOSED the second time."""
        self._check_open()
        events = self._take(self._decoder.finish()) + self._settle(self._session.flush())
        self._ended = True
        heard = self._session
        counters = Counters(heard.speech_frames, heard.lost_frames, heard.frames_by_label)
        summary = SessionSummary(
            session_id=heard.session_id,
            reason="stop",
            audio_s=self._decoder.received_s,
            counters={None: counters},
            utterances=tuple(self._utterances),
            leftover_bytes=self._decoder.leftover_bytes,
        )
        return [*events, event_of("session_summary", wire.summary(summary))]

    def _refusal(self, code: str, text: str) -> EmotionError:
        return EmotionError(code, in_language(text, self._language))

    def _check_open(self) -> None:
        if self._ended:
            raise self._refusal("CLOSED", "this stream has ended; begin another with stream()")

    def _take(self, samples: Floats) -> list[Event]:
        steps = (self._session.push(samples[at : at + PIECE]) for at in range(0, len(samples), PIECE))
        return [event for step in steps for event in self._settle(step)]

    def _settle(self, step: Step) -> list[Event]:
        """Score until the session asks for nothing more."""
        told = [event for each in step.events for event in self._told(each)]
        while step.window is not None:
            step = self._session.absorb(step.window, self._scored(step.window))
            told += [event for each in step.events for event in self._told(each)]
        return told

    def _scored(self, window: Window) -> Answer:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        try:
            self._engine.submit(window, lambda window, answer, timing: answers.put(answer))
        except Busy:
            return Failed("OVERLOADED", "the model holds too many windows")
        return answers.get()

    def _told(self, event: StreamEvent) -> list[Event]:
        rows: list[tuple[str, JsonDict]] = []
        name = self._session.session_id
        if isinstance(event, FramesScored):
            self._history.add(event.first_frame, event.probs)
        if isinstance(event, FramesScored) and self._frame_results:
            rows = [("frame_result", wire.frame_result(name, None, row)) for row in wire.frame_list(event)]
        elif isinstance(event, UtteranceScored) and self._labels and event.embedding is not None:
            event = replace(event, custom=self._labels.judge(event.embedding))
        rows.append(wire.to_wire(name, None, event, self._model))
        if isinstance(event, UtteranceScored):
            self._utterances.append(rows[-1][1])
        return [event_of(kind, wire.Json.loads(wire.Json.dumps(payload))) for kind, payload in rows]
