"""A whole recording through the same session and model as a live stream: the oracle, and the file tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stream.session import StreamConfig, StreamSession
from stream.types import SAMPLE_RATE, EmotionModel, Floats, Step, StreamEvent

PIECE = SAMPLE_RATE  # samples given to the session at a time: well below any ring


def run(blocks: Iterable[Floats], model: EmotionModel, config: StreamConfig) -> Iterator[StreamEvent]:
    """Events of a recording given as blocks of samples (n,) at 16 kHz, in constant memory.

    Equal to what the live server says for the same samples, to 1e-5.
    """
    session = StreamSession("file", config)
    for block in blocks:
        for at in range(0, len(block), PIECE):
            yield from _settle(session, model, session.push(block[at : at + PIECE]))
    yield from _settle(session, model, session.flush())


def _settle(session: StreamSession, model: EmotionModel, step: Step) -> Iterator[StreamEvent]:
    """Score until the session asks for nothing more."""
    yield from step.events
    while step.window is not None:
        (answer,) = model.score([step.window])
        step = session.absorb(step.window, answer)
        yield from step.events
