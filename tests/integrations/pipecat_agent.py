"""A voice agent of Pipecat's own parts, with a scripted speech-to-text and a scripted LLM. Run where Pipecat is.

    pipecat_agent.py SCENARIO URL|model AUDIO TIMEOUT_S

AUDIO: PCM16 at 16 kHz, what the user says in each turn. Prints what came of it as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TextFrame,
    TranscriptionFrame,
    UserAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner
from pipecat_emotion_stream import EmotionProcessor

RATE = 16_000
TICK = RATE // 50 * 2  # bytes, 20 ms
PACE_S = 0.005  # four times as fast as people speak


class ScriptedSTT(FrameProcessor):
    """Says `line 1` of what is said first, and so on."""

    def __init__(self) -> None:
        super().__init__()
        self._n = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame) and direction == FrameDirection.DOWNSTREAM:
            self._n += 1
            await self.push_frame(TranscriptionFrame(f"line {self._n}", "user", "now"))


class ScriptedLLM(FrameProcessor):
    """Answers every context in one word, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[list[Any]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self.given.append(list(frame.context.messages))
        for answer in (LLMFullResponseStartFrame(), LLMTextFrame("Indeed."), LLMFullResponseEndFrame()):
            await self.push_frame(answer)


class Seen(FrameProcessor):
    """What passes, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction == FrameDirection.DOWNSTREAM:
            self.frames.append(frame)
        await self.push_frame(frame, direction)

    @property
    def transcripts(self) -> list[TranscriptionFrame]:
        return [frame for frame in self.frames if isinstance(frame, TranscriptionFrame)]


class Agent:
    def __init__(self, emotion: EmotionProcessor) -> None:
        self.before, self.after, self.llm = Seen(), Seen(), ScriptedLLM()
        ends = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.1)
        strategies = UserTurnStrategies(start=[VADUserTurnStartStrategy()], stop=[ends])
        context = LLMContextAggregatorPair(
            LLMContext(), user_params=LLMUserAggregatorParams(user_turn_strategies=strategies)
        )
        parts = [
            ScriptedSTT(),
            self.before,
            emotion,
            self.after,
            context.user(),
            self.llm,
            context.assistant(),
        ]
        params = PipelineParams(audio_in_sample_rate=RATE)
        self.worker = PipelineWorker(Pipeline(parts), params=params, cancel_on_idle_timeout=False)

    async def put(self, frame: Frame) -> None:
        await self.worker.queue_frame(frame)

    async def say(self, pcm: bytes, user_id: str | None = None) -> None:
        """A turn: the user speaks, is noticed 200 ms later, and falls silent."""
        await self.put(VADUserStartedSpeakingFrame(start_secs=0.2))
        await self.sound(pcm, user_id)
        await self.put(VADUserStoppedSpeakingFrame(stop_secs=0.2))

    async def sound(self, pcm: bytes, user_id: str | None = None) -> None:
        for at in range(0, len(pcm), TICK):
            part = pcm[at : at + TICK]
            of = {} if user_id is None else {"user_id": user_id}
            await self.put((UserAudioRawFrame if of else InputAudioRawFrame)(part, RATE, 1, **of))
            await asyncio.sleep(PACE_S)

    async def quiet_until(self, n_answers: int) -> None:
        while len(self.llm.given) < n_answers:
            await self.sound(bytes(TICK))

    async def play(self, scenario: Any) -> None:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        running = asyncio.create_task(runner.run())
        await scenario
        await self.put(EndFrame())
        await running


async def conversation(agent: Agent, pcm: bytes, turns: int = 3) -> dict[str, Any]:
    """Turns and answers."""
    for n in range(turns):
        await agent.say(pcm)
        await agent.quiet_until(n + 1)
    return {"given": agent.llm.given[-1]}


async def kept_waiting(agent: Agent, pcm: bytes) -> dict[str, Any]:
    """While a transcript waits: audio, text, an interruption, another transcript."""
    await agent.say(pcm)
    await agent.put(TextFrame("after"))
    while not agent.before.transcripts:
        await asyncio.sleep(0.01)
    await agent.put(InterruptionFrame())
    await agent.put(TranscriptionFrame("once more", "user", "now"))
    await agent.sound(bytes(10 * TICK))
    while len(agent.after.transcripts) < 2:
        await asyncio.sleep(0.01)
    return {"order": [type(frame).__name__ for frame in agent.after.frames]}


async def of_two_users(agent: Agent, pcm: bytes) -> dict[str, Any]:
    """The other one speaks, and the one that is heard is silent."""
    await agent.say(pcm, "other")
    await agent.put(TranscriptionFrame("not me", "other", "now"))
    await agent.quiet_until(1)
    return {}


async def main() -> None:
    scenario, where, audio, timeout_s = sys.argv[1:]
    pcm, model = Path(audio).read_bytes(), None
    if where == "model":
        from emotion_stream import EmotionModel

        model = EmotionModel(device="cpu")
    user_id = "user" if scenario == "of_two_users" else None
    more = {
        "model": model,
        "timeout_s": float(timeout_s),
        "user_id": user_id,
        "options": {"name": "the user"},
    }
    agent = Agent(EmotionProcessor(where, **more))
    told: dict[str, Any] = {}

    async def play() -> None:
        told.update(await globals()[scenario](agent, pcm))

    await agent.play(play())
    transcripts = [[frame.text, frame.metadata.get("emotion")] for frame in agent.after.transcripts]
    passed = [{frame.id for frame in seen.frames} for seen in (agent.before, agent.after)]
    print(json.dumps({**told, "transcripts": transcripts, "all_passed": passed[0] == passed[1]}))


asyncio.run(main())
