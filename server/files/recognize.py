"""One recording → its emotions: the one way for REST, the command line and the tools.

It is heard as a live stream is, by the same session and through the same engine, but in windows of two seconds
and in the background: live windows go first. The windows' length is fixed, so a file gives the same digits
wherever it is recognized and whatever runs beside it. Decoding runs ahead of scoring by a bounded amount; memory
does not grow with the length, but for what a result says of each utterance, or of each frame.
"""

from __future__ import annotations

import queue
import time
import uuid
import wave
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO

from server.alerting.judge import SessionAlerts, Told, verdict
from server.config import Config, FileSettings
from server.engine import Busy, Engine, Timing
from server.errors import RETRYABLE, ClientError
from server.files import decode
from server.files.result import AUDIO, Create, OnProgress, Recording
from server.files.similarity import Samples
from stream.codec import Resampler
from stream.custom_labels import CustomLabels
from stream.full_recording import Segmenter
from stream.pcm import to_pcm16
from stream.session import StreamConfig, StreamSession
from stream.types import (
    HOP,
    SAMPLE_RATE,
    Answer,
    Floats,
    FrameScores,
    FramesScored,
    JsonDict,
    Lost,
    ModelSpec,
    SpeechStarted,
    Step,
    StreamEvent,
    UtteranceScored,
    Window,
    frames_in,
)

# Frames. One core scores these two seconds in about a tenth of one: so long may a live window wait behind them.
WINDOW = 200
AHEAD = 4 * SAMPLE_RATE  # samples that may be decoded before the window that is out has been answered
TIMEOUT_S = 120.0  # how long one window is offered again to an engine that is busy, restarting or too slow
PAUSE_S = 0.05  # before it is
MAX_ALERTS = 1000  # kept of one recording
PROGRESS_S = 0.2  # between two reports of progress


@dataclass(frozen=True)
class RecognizeOptions:
    """What is wanted of a recording, and how long it may be."""

    granularity: str = "utterance"  # or frame
    embed: bool = False
    create: Create | None = None  # how to write the result's files
    custom_labels: CustomLabels | None = None
    samples: Samples | None = None  # with reference samples
    max_s: float = float("inf")  # a longer recording is refused
    file_name: str = ""  # the recording's own, cleaned (`clean_name`): result.json keeps it


def recognize(
    file: BinaryIO,
    engine: Engine,
    config: Config | FileSettings,
    options: RecognizeOptions,
    on_progress: OnProgress = lambda report: None,
) -> Recording:
    """Recognize an open, seekable file. `on_progress` is given steps and progress, and may raise to end it.

    Raises ClientError, and OSError when the files cannot be written.
    """
    spec = engine.spec
    if spec is None:
        raise ClientError("NOT_READY", engine.health().error or "the model is loading")
    found = Recording(spec, options.granularity, options.embed, file_name=options.file_name)
    limits = decode.DecodeLimits(options.max_s, config.files.max_channels)
    with decode.opened(file, limits) as audio:
        labels = options.custom_labels
        embed = options.embed or labels is not None or options.samples is not None
        stream_config = file_stream_config(config, spec, embed=embed)
        job = _RecordingJob(
            engine, stream_config, found, labels, SessionAlerts(config.rules, (None,), config.names_zh)
        )
        with ExitStack() as stack:
            writer = _wav(stack.enter_context(options.create(AUDIO)), stack) if options.create else None
            next_report = time.monotonic() + PROGRESS_S
            for samples in job.resampled(audio):
                if writer:
                    job.save(writer, samples)
                job.push(samples)
                if time.monotonic() > next_report:
                    next_report = time.monotonic() + PROGRESS_S
                    on_progress({"progress": {"done_s": round(audio.read_s, 2), "total_s": _total(audio)}})
            job.finish()
        found.verdict_rule = verdict(config.rules, found.alerts)
        found.finish(audio.read_s)
    found.custom_label = judge(labels, found.whole.embedding)
    if options.samples and found.whole.embedding is not None:
        found.similarity = options.samples.compare(found.whole.embedding)
    began = time.perf_counter()
    names = [*found.save(options.create), AUDIO] if options.create else []
    job.spent["save"] += time.perf_counter() - began
    for step in job.steps(audio, names):
        on_progress({"step": step})
    return found


def file_stream_config(config: Config | FileSettings, spec: ModelSpec, embed: bool) -> StreamConfig:
    """How a file is heard: as the settings say of a live stream, in longer windows where the model allows."""
    live = config.stream_config(spec)
    hop = live.hop if spec.fixed_hop else max(spec.hop_frames, WINDOW - WINDOW % spec.hop_frames)
    held = (live.left + hop + live.right + live.gate.onset + live.gate.pre_roll) * HOP + 2 * AHEAD
    return replace(live, hop=hop, max_hop=hop, ring=max(live.ring, held), embed=embed, background=True)


def judge(labels: CustomLabels | None, embedding: Floats | None) -> JsonDict | None:
    """What the custom labels say; None where there are none, or nobody spoke."""
    return None if labels is None or embedding is None else labels.judge(embedding)


class _RecordingJob:
    """A session on its way through a file, and the time that each step took."""

    def __init__(
        self,
        engine: Engine,
        config: StreamConfig,
        found: Recording,
        labels: CustomLabels | None,
        alerts: SessionAlerts,
    ) -> None:
        self._engine, self._found, self._labels = engine, found, labels
        self._alerts = alerts
        self._session = StreamSession(f"file-{uuid.uuid4().hex}", config)
        self._segmenter = Segmenter(found.spec, config.embed) if found.spec.recording_frames else None
        self._pending: _PendingWindow | None = None  # the session's window that is out
        self._n_windows = self._spans = 0
        self.spent = dict.fromkeys(("decode", "resample", "detect_speech", "score", "save"), 0.0)

    def resampled(self, audio: decode.Audio) -> Iterator[Floats]:
        """The recording at 16 kHz, in pieces that the session takes."""
        resampler, blocks = Resampler(), audio.blocks()
        while True:
            began = time.perf_counter()
            block = next(blocks, None)
            decoded = time.perf_counter()
            samples = resampler.push(block.samples, block.rate) if block else resampler.finish()
            self.spent["decode"] += decoded - began
            self.spent["resample"] += time.perf_counter() - decoded
            for at in range(0, len(samples), SAMPLE_RATE):
                yield samples[at : at + SAMPLE_RATE]
            if block is None:
                return

    def save(self, writer: wave.Wave_write, samples: Floats) -> None:
        began = time.perf_counter()
        writer.writeframes(to_pcm16(samples))
        self.spent["save"] += time.perf_counter() - began

    def push(self, samples: Floats) -> None:
        """Take samples in; enter what has been scored meanwhile, and wait for the engine if it is behind."""
        began = time.perf_counter()
        turn = self._session.push(samples)
        self.spent["detect_speech"] += time.perf_counter() - began
        self._follow(turn)
        while self._pending and (
            self._pending.answered or self._session.received - self._pending.window.end_sample > AHEAD
        ):
            self._absorb(self._pending)
        if self._segmenter:
            self._score_segments(self._segmenter.push(samples))

    def finish(self) -> None:
        self._follow(self._session.flush())
        while self._pending:
            self._absorb(self._pending)
        self._tell(self._alerts.finish(frames_in(self._session.received)))
        if self._segmenter:
            self._score_segments(self._segmenter.finish())

    def steps(self, audio: decode.Audio, names: list[str]) -> list[JsonDict]:
        """What was done, in order, and how long each took: they overlap."""
        about, heard = audio.about, self._session
        channels = "1 channel" if about.channels == 1 else f"{about.channels} channels"
        stretches = "1 stretch" if self._spans == 1 else f"{self._spans} stretches"
        scored, spec = self._found.speech.n_frames, self._found.spec
        details = {
            "decode": f"{about.container}, {about.codec}, {about.sample_rate} Hz, {channels}",
            "resample": f"{about.sample_rate} Hz to {SAMPLE_RATE} Hz, mono",
            "detect_speech": f"{heard.speech_frames * HOP / SAMPLE_RATE:.1f} s of speech in"
            f" {audio.read_s:.1f} s, {stretches}",
            "score": f"{scored} frames in {self._n_windows} windows, {spec.name} on {spec.device}",
            "save": ", ".join(names) if names else "nothing kept",
        }
        return [
            {"step": k, "ms": round(1000 * self.spent[k], 1), "detail": text} for k, text in details.items()
        ]

    def _follow(self, turn: Step) -> None:
        for event in turn.events:
            self._enter(event)
            self._tell(self._alerts.on_event(None, event))
        self._tell(self._alerts.advance(None, self._session.watermark_frame))
        self._pending = self._request(turn.window) if turn.window else self._pending

    def _tell(self, alerts: Told) -> None:
        self._found.alerts += [alert for _, alert in alerts][: MAX_ALERTS - len(self._found.alerts)]

    def _enter(self, event: StreamEvent) -> None:
        if isinstance(event, FramesScored):
            self._found.add(event)
        elif isinstance(event, UtteranceScored):
            self._found.add_utterance(event, judge(self._labels, event.embedding))
        elif isinstance(event, SpeechStarted):
            self._spans += 1
        assert not isinstance(event, Lost), "the ring holds what may be decoded ahead"

    def _request(self, window: Window) -> _PendingWindow:
        self._n_windows += 1
        return _PendingWindow(self._engine, window)

    def _absorb(self, pending: _PendingWindow) -> None:
        scores = self._scores(pending)
        self._pending = None
        self._follow(self._session.absorb(pending.window, scores))

    def _score_segments(self, segments: Sequence[Window]) -> None:
        for segment in segments:
            self._found.segments.add(self._scores(self._request(segment)))

    def _scores(self, pending: _PendingWindow) -> FrameScores:
        scores, infer_s = pending.wait()
        self.spent["score"] += infer_s
        return scores


class _PendingWindow:
    """A window that was submitted to the engine, and is submitted again where that may help."""

    def __init__(self, engine: Engine, window: Window) -> None:
        self._engine, self.window = engine, window
        self._answers: queue.SimpleQueue[tuple[Answer, Timing]] = queue.SimpleQueue()
        self._end = time.monotonic() + TIMEOUT_S
        self._submit()

    @property
    def answered(self) -> bool:
        return not self._answers.empty()

    def wait(self) -> tuple[FrameScores, float]:
        """The scores, and how long the model took. Raises ClientError."""
        while True:
            answer, timing = self._answers.get()
            if isinstance(answer, FrameScores):
                return answer, timing.infer_s
            if answer.code not in RETRYABLE or time.monotonic() > self._end:
                raise ClientError(answer.code, answer.message)
            time.sleep(PAUSE_S)
            self._submit()

    def _submit(self) -> None:
        while True:
            try:
                return self._engine.submit(
                    self.window, lambda window, answer, timing: self._answers.put((answer, timing))
                )
            except Busy:
                if time.monotonic() > self._end:
                    raise ClientError("OVERLOADED", "the model is overloaded; try again later") from None
                time.sleep(PAUSE_S)


def _wav(file: BinaryIO, stack: ExitStack) -> wave.Wave_write:
    """16 kHz mono PCM16: what the model heard."""
    writer = stack.enter_context(wave.open(file, "wb"))  # noqa: SIM115
    writer.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "NONE"))
    return writer


def _total(audio: decode.Audio) -> float | None:
    declared = audio.about.duration_s
    return None if declared is None else round(max(declared, audio.read_s), 2)
