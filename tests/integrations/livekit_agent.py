"""A voice agent of LiveKit's own parts, with a scripted speech-to-text and a scripted LLM. Run where LiveKit is.

    livekit_agent.py SCENARIO URL|model AUDIO TIMEOUT_S

AUDIO: PCM16 at 16 kHz, what the user says in each turn. Prints what came of it as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice.io import AudioInput
from livekit.plugins.emotion_stream import EmotionSTT

RATE = 16_000
TICK = RATE // 50 * 2  # bytes, 20 ms
PACE_S = 0.005  # four times as fast as people speak
SPEECH, FINAL, ENDED = (
    stt.SpeechEventType.START_OF_SPEECH,
    stt.SpeechEventType.FINAL_TRANSCRIPT,
    stt.SpeechEventType.END_OF_SPEECH,
)


class ScriptedSTT(stt.STT[Any]):
    """Says `line 1` of the first sound that it hears, and so on: what is not zero is speech."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def stream(self, **_: Any) -> stt.RecognizeStream:
        return _Script(stt=self, conn_options=DEFAULT_API_CONNECT_OPTIONS)


class _Script(stt.RecognizeStream):
    async def _run(self) -> None:
        n, speaks, quiet = 0, False, 0
        async for part in self._input_ch:
            if not isinstance(part, rtc.AudioFrame):
                continue
            quiet = quiet + 1 if not any(bytes(part.data)) else 0
            if not quiet and not speaks:
                speaks = True
                self._event_ch.send_nowait(stt.SpeechEvent(SPEECH))
            elif quiet == 3 and speaks:
                speaks, n = False, n + 1
                said = stt.SpeechData("en", f"line {n}")
                self._event_ch.send_nowait(stt.SpeechEvent(FINAL, alternatives=[said]))
                self._event_ch.send_nowait(stt.SpeechEvent(ENDED))


class ScriptedLLM(llm.LLM):
    """Answers every context in one word, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[list[str]] = []

    def chat(self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = None, **_: Any) -> Any:
        said = [item for item in chat_ctx.items if getattr(item, "role", "") == "user"]
        self.given.append([item.text_content or "" for item in said])
        options = conn_options or DEFAULT_API_CONNECT_OPTIONS
        return _Answer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=options)


class _Answer(llm.LLMStream):
    async def _run(self) -> None:
        delta = llm.ChoiceDelta(role="assistant", content="Indeed.")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class Microphone(AudioInput):
    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()

    async def sound(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), TICK):
            part = pcm[at : at + TICK]
            self._frames.put_nowait(rtc.AudioFrame(part, RATE, 1, len(part) // 2))
            await asyncio.sleep(PACE_S)


async def conversation(emotional: EmotionSTT, pcm: bytes) -> dict[str, Any]:
    """Three turns and answers, in a session of the framework."""
    answers, microphone = ScriptedLLM(), Microphone()
    session: AgentSession[None] = AgentSession(stt=emotional, llm=answers, turn_detection="stt")
    session.input.audio = microphone
    await session.start(Agent(instructions="Be kind."))
    for n in range(3):
        await microphone.sound(pcm)
        while len(answers.given) <= n:
            await microphone.sound(bytes(TICK))
        while session.agent_state not in ("listening", "idle"):
            await microphone.sound(bytes(TICK))
    await session.aclose()
    return {"given": answers.given[-1]}


async def streamed(emotional: EmotionSTT, pcm: bytes) -> dict[str, Any]:
    """The events of one stream, and its context when each came."""
    stream, heard = emotional.stream(), []

    async def listen() -> None:
        async for event in stream:
            said = event.alternatives[0] if event.alternatives else None
            context: Any = stream.context
            heard.append(
                {
                    "type": event.type.value,
                    "text": said and said.text,
                    "metadata": said and said.metadata,
                    "context": context and context.to_instructions(),
                }
            )

    listening = asyncio.create_task(listen())
    for _ in range(2):
        for at in range(0, len(pcm) + 10 * TICK, TICK):
            part = (pcm + bytes(10 * TICK))[at : at + TICK]
            stream.push_frame(rtc.AudioFrame(part, RATE, 1, len(part) // 2))
            await asyncio.sleep(PACE_S)
    stream.end_input()
    await listening
    await stream.aclose()
    return {"events": heard}


async def main() -> None:
    scenario, where, audio, timeout_s = sys.argv[1:]
    model = None
    if where == "model":
        from emotion_stream import EmotionModel

        model = EmotionModel(device="cpu")
    emotional = EmotionSTT(ScriptedSTT(), where, model=model, timeout_s=float(timeout_s))
    told = await globals()[scenario](emotional, Path(audio).read_bytes())
    await emotional.aclose()
    print(json.dumps(told))


asyncio.run(main())
