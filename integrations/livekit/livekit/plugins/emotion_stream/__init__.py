"""`EmotionSTT`, around any streaming speech-to-text of LiveKit Agents: transcripts come with how they sounded.

Audio goes to both. Only final transcripts are kept for their emotion, and no longer than it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

from emotion_stream_client import AsyncEmotionClient, SpanResult
from emotion_stream_client.turns import TurnListener, in_process, likely, rcs, through_server
from livekit import rtc
from livekit.agents import stt, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from pydantic import BaseModel

__version__ = "0.2.0"  # emotion-stream's
__all__ = ["EmotionSTT", "SpeakerEmotion"]


class SpeakerEmotion(BaseModel):
    """How the latest turn sounded: the `context` of a stream, and a `SpeakerContext` of the framework's."""

    emotion: str
    confidence: float
    scores: dict[str, float]

    def to_instructions(self) -> str:
        """What an LLM is told of it."""
        found = SpanResult(kind="", raw={}, begin_ms=0, end_ms=0, complete=True, frames=1, scores=self.scores)
        told = ", ".join(f"{label} {p:.2f}" for label, p in likely(found).items())
        return (
            f"The user's voice sounds, as probabilities: {told}. This can be wrong: let it guide your tone, and do"
            " not mention it."
        )


class EmotionSTT(stt.STT[Any]):
    """Recognizes as `wrapped` does. What is heard besides is in `SpeechData.metadata["emotion"]`, before the text,
    and in the stream's `context`."""

    def __init__(
        self,
        wrapped: stt.STT[Any],
        url: str = "http://127.0.0.1:7860",
        *,
        token: str = "",
        model: Any = None,
        timeout_s: float = 0.3,
        in_text: bool = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        """`url`, `token`: of the server. `model`: an `emotion_stream.EmotionModel` that scores in this process
        instead. `timeout_s`: how long a transcript may be kept for its emotion; then it goes on as it is.

        `in_text`: whether the text begins with the emotion: `([emotion angry=0.71, neutral=0.20])`. `options`: of
        the session, such as `name` and `tags`, which people see at the server's desk. Raises ValueError for what
        does not stream: put it into a `StreamAdapter` first.
        """
        if not wrapped.capabilities.streaming:
            raise ValueError(f"{wrapped.label} does not stream: give EmotionSTT(StreamAdapter(stt=…, vad=…))")
        super().__init__(capabilities=wrapped.capabilities)
        self.wrapped, self.timeout_s, self.in_text = wrapped, timeout_s, in_text
        self._client = AsyncEmotionClient(url, token)
        self.opens = through_server(self._client, **options or {}) if model is None else in_process(model)
        self._recognize_metrics_needed = False  # the wrapped one's are passed on
        wrapped.on("metrics_collected", self._on_metrics)
        wrapped.on("error", self._on_error)

    @property
    def model(self) -> str:
        """The wrapped one's."""
        return self.wrapped.model

    @property
    def provider(self) -> str:
        """The wrapped one's."""
        return self.wrapped.provider

    def prewarm(self) -> None:
        """As the wrapped one does."""
        self.wrapped.prewarm()

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        """A session of both."""
        return _EmotionStream(self, language, conn_options)

    async def aclose(self) -> None:
        """Let go of the server; the wrapped one is its owner's to close."""
        self.wrapped.off("metrics_collected", self._on_metrics)
        self.wrapped.off("error", self._on_error)
        await self._client.close()

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        return await self.wrapped.recognize(buffer, language=language, conn_options=conn_options)

    def _on_metrics(self, *told: Any) -> None:
        self.emit("metrics_collected", *told)

    def _on_error(self, *told: Any) -> None:
        self.emit("error", *told)

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self.wrapped._update_session_keyterms(keyterms)

    def _push_conversation_item(self, item: Any) -> None:
        self.wrapped._push_conversation_item(item)


class _EmotionStream(stt.RecognizeStream):
    def __init__(self, of: EmotionSTT, language: NotGivenOr[str], conn_options: APIConnectOptions) -> None:
        super().__init__(stt=of, conn_options=conn_options)
        self._of, self._language = of, language

    async def _run(self) -> None:
        listener = TurnListener(self._of.opens)
        wrapped = self._of.wrapped.stream(language=self._language, conn_options=self._conn_options)
        tasks = [
            asyncio.create_task(self._forward_audio(wrapped, listener)),
            asyncio.create_task(self._forward_events(wrapped, listener)),
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await utils.aio.cancel_and_wait(*tasks)
            await wrapped.aclose()
            await listener.close()

    async def _forward_audio(self, wrapped: stt.RecognizeStream, listener: TurnListener) -> None:
        async for part in self._input_ch:
            if isinstance(part, rtc.AudioFrame):
                wrapped.push_frame(part)
                listener.hear(bytes(part.data), part.sample_rate, part.num_channels)
            else:
                wrapped.flush()
        with contextlib.suppress(RuntimeError):  # it may have ended by itself
            wrapped.end_input()

    async def _forward_events(self, wrapped: stt.RecognizeStream, listener: TurnListener) -> None:
        async for event in wrapped:
            if event.type == stt.SpeechEventType.START_OF_SPEECH:
                listener.speech_began()
            elif event.type == stt.SpeechEventType.FINAL_TRANSCRIPT and any(
                a.text for a in event.alternatives
            ):
                found = await listener.emotion(*listener.end_turn(), self._of.timeout_s)
                event = self._with_emotion(event, found)
            self._event_ch.send_nowait(event)

    def _with_emotion(self, event: stt.SpeechEvent, found: SpanResult | None) -> stt.SpeechEvent:
        if found is None or found.emotion is None:
            self.context = None  # that of an earlier turn would be told as this one's
            return event
        self.context = SpeakerEmotion(emotion=found.emotion, confidence=found.confidence, scores=found.scores)
        before = f"{rcs(found)} " if self._of.in_text else ""
        told = [
            replace(said, text=before + said.text, metadata={**(said.metadata or {}), "emotion": found.raw})
            for said in event.alternatives
        ]
        return replace(event, alternatives=told)

    async def _metrics_monitor_task(self, event_aiter: Any) -> None:
        """The wrapped stream has reported them; a transcript proves that it works again."""
        async for event in event_aiter:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                self._num_retries = 0
