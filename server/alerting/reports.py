"""What webhooks are told of a session besides its alerts: each utterance, each turn, and at its end the summary.

Who forks a call to the server cannot be answered over that connection: this is where its results go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from server import wire
from server.alerting.subject import Subject
from server.alerting.webhooks import Receiver
from server.observers import SessionInfo, SessionSummary
from stream.types import Floats, JsonDict, UtteranceScored


@dataclass
class _Turn:
    """What one of two people says until the other is heard: consecutive utterances of a channel."""

    channel: str
    start: int  # frames [start, end)
    end: int
    n_utterances: int
    n_scored: int
    sums: Floats  # (N_LABELS,): of the scored frames

    def to_wire(self) -> JsonDict:
        return {
            "channel": self.channel,
            "start_ms": wire.ms(self.start),
            "end_ms": wire.ms(self.end),
            "utterances": self.n_utterances,
            **wire.scores((self.sums / self.n_scored).astype(np.float32)),
        }


class SessionReport:
    """Of one session, which calls it as an observer is called."""

    def __init__(self, info: SessionInfo, subject: Subject, receivers: Sequence[Receiver]) -> None:
        self._info, self._subject, self._receivers = info, subject, receivers
        self._turn: _Turn | None = None

    def utterance(self, channel: str | None, event: UtteranceScored) -> None:
        """One has been scored."""
        _, payload = wire.to_wire(self._info.session_id, channel, event, self._info.model)
        self._tell("utterance", payload)
        # Where one voice alone is scored, nobody knows when the other spoke: there are no turns.
        if channel is not None and self._info.watch == "both":
            self._take_turn(channel, event)

    def close(self, summary: SessionSummary) -> None:
        self._end_turn()
        if not summary.moved:
            payload = wire.summary(summary)
            del payload[
                "utterances"
            ]  # each was told by itself to who wanted them; a thousand would fill queues
            self._tell("summary", payload)

    def _take_turn(self, channel: str, event: UtteranceScored) -> None:
        if self._turn is not None and self._turn.channel != channel:
            self._end_turn()
        n = max(1, event.n_scored)
        if (turn := self._turn) is None:
            self._turn = _Turn(channel, event.start, event.end, 1, n, event.probs * n)
        else:
            turn.end, turn.n_utterances = event.end, turn.n_utterances + 1
            turn.n_scored, turn.sums = turn.n_scored + n, turn.sums + event.probs * n

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._tell("turn", self._turn.to_wire())
            self._turn = None

    def _tell(self, event: str, payload: JsonDict) -> None:
        takers = [receiver for receiver in self._receivers if receiver.takes(event)]
        if takers:
            about = {"source": self._subject.source, **self._subject.fields}
            body = orjson.dumps({"event": event, **payload, **about})
            for receiver in takers:
                receiver.put(body)
