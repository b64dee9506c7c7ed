"""`EmotionProcessor`, a Pipecat processor that puts how the user's turn sounded beside its transcript.

It stands behind the speech-to-text service and passes every frame on. None but transcripts are kept waiting, and
those no longer than it was told.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from emotion_stream_client import AsyncEmotionClient
from emotion_stream_client.turns import TurnListener, in_process, rcs, through_server
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameCallback, FrameDirection, FrameProcessor

__version__ = "0.2.0"  # emotion-stream's
__all__ = ["EmotionProcessor"]

DOWNSTREAM = FrameDirection.DOWNSTREAM


class EmotionProcessor(FrameProcessor):
    """Hears one user. What it finds goes into a `TranscriptionFrame`: its `metadata["emotion"]`, and its text."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:7860",
        *,
        token: str = "",
        model: Any = None,
        timeout_s: float = 0.3,
        in_text: bool = True,
        user_id: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """`url`, `token`: of the server. `model`: an `emotion_stream.EmotionModel` that scores in this process
        instead. `timeout_s`: how long a transcript may be kept for its emotion; then it goes on as it is.

        `in_text`: whether the text begins with the emotion, as the Real-time Context Standard writes it:
        `([emotion angry=0.71, neutral=0.20])`. `user_id`: of several users, the one that is heard. `options`: of
        the session, such as `name` and `tags`, which people see at the server's desk.
        """
        super().__init__()
        self._client = AsyncEmotionClient(url, token)
        opens = through_server(self._client, **options or {}) if model is None else in_process(model)
        self._listener = TurnListener(opens)
        self._timeout_s, self._in_text, self._user_id = timeout_s, in_text, user_id
        self._turns: dict[int, tuple[float, float, float]] = {}  # begin, end, and until when it may be kept

    async def queue_frame(
        self,
        frame: Frame,
        direction: FrameDirection = DOWNSTREAM,
        callback: FrameCallback | None = None,
    ) -> None:
        """Take a transcript's turn down as it arrives: others may be waiting before it."""
        if isinstance(frame, TranscriptionFrame) and direction == DOWNSTREAM and self._is_heard(frame):
            deadline_s = asyncio.get_running_loop().time() + self._timeout_s
            self._turns[frame.id] = (*self._listener.end_turn(), deadline_s)
            frame.interruptible = False  # what the user said stays said, also where it interrupts the bot
        await super().queue_frame(frame, direction, callback)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Pass the frame on. Audio is a system frame in Pipecat: it does not stand behind what waits."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame) and self._is_heard(frame):
            self._listener.hear(frame.audio, frame.sample_rate, frame.num_channels)
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            self._listener.speech_began(1000 * frame.start_secs)
        elif frame.id in self._turns:
            frame = await self._with_emotion(frame)
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """End the session."""
        await super().cleanup()
        await self._listener.close()
        await self._client.close()

    def _is_heard(self, frame: Frame) -> bool:
        """Not of another user; most transports have only one, and name none."""
        return self._user_id is None or getattr(frame, "user_id", self._user_id) == self._user_id

    async def _with_emotion(self, frame: Frame) -> Frame:
        """A copy: observers may still look at the transcript as it came."""
        begin_ms, end_ms, deadline_s = self._turns.pop(frame.id)
        told = copy.copy(frame)
        told.interruptible = True
        left_s = max(0.0, deadline_s - asyncio.get_running_loop().time())
        found = await self._listener.emotion(begin_ms, end_ms, left_s)
        if found is not None and isinstance(told, TranscriptionFrame):
            told.metadata = {**frame.metadata, "emotion": found.raw}
            told.text = f"{rcs(found)} {told.text}" if self._in_text else told.text
        return told
