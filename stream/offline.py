"""A whole recording through the same session and model as a live stream: the oracle, and the file tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stream.session import StreamConfig, StreamSession
from stream.types import SAMPLE_RATE, EmotionModel, Floats, StreamEvent, Turn

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


def _settle(session: StreamSession, model: EmotionModel, turn: Turn) -> Iterator[StreamEvent]:
    """Score until the session asks for nothing more."""
    yield from turn.events
    while turn.window is not None:
        (answer,) = model.score([turn.window])
        turn = session.absorb(turn.window, answer)
        yield from turn.events
