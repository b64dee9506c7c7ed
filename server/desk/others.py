"""The sessions of other workers, and of other servers, on a board here: asked for while a desk watches, and shown
as one's own are.

A worker asks all others at once for the cards of their sessions, and for the whole of those that a desk has open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from server.desk.board import Board
from server.desk.boards import Boards
from server.tenants import DEFAULT
from stream.types import JsonDict

NUMBERED = ("utterances", "alerts", "lost")  # what comes one by one, numbered by `n`

Ask = Callable[[str, JsonDict], Iterable[JsonDict]]


class ShownSession(Protocol):
    """What a desk shows of a session, wherever it is: see `board.SessionState`."""

    def summary(self, now_s: float) -> JsonDict: ...
    def delta(self, now_s: float) -> JsonDict | None: ...
    def details(self, snapshot: bool) -> JsonDict: ...


class _Elsewhere:
    """A session of another process, as that has told of it last."""

    def __init__(self, summary: JsonDict) -> None:
        self.told = summary
        self.whole: JsonDict = {}  # its details, while a desk has it open
        self._shown: JsonDict = {}
        self._shown_whole: JsonDict = {}

    def summary(self, now_s: float) -> JsonDict:
        return self.told

    def delta(self, now_s: float) -> JsonDict | None:
        before, self._shown = self._shown, self.told
        if not before:
            return self.told
        changed = {k: v for k, v in self.told.items() if k not in ("age_ms", "timelines") and v != before[k]}
        theirs, shown = self.told["timelines"], before["timelines"]
        if timelines := {name: line for name, line in theirs.items() if line != shown[name]}:
            changed["timelines"] = timelines
        return {"session_id": self.told["session_id"], **changed} if changed else None

    def details(self, snapshot: bool) -> JsonDict:
        if snapshot:
            return self.whole
        before, self._shown_whole = self._shown_whole, self.whole
        lines, shown = self.whole.get("timelines", {}), before.get("timelines", {})
        more: JsonDict = {"timelines": {name: of for name, of in lines.items() if of != shown.get(name)}}
        for kind in NUMBERED:
            last = max((x["n"] for x in before.get(kind, ())), default=0)
            more[kind] = [x for x in self.whole.get(kind, ()) if x["n"] > last]
        return more


class WholeBoard:
    """The board of a server with several workers: its own, and what the others tell."""

    def __init__(self, own: Board, ask: Ask, tenant: str = DEFAULT) -> None:
        """`tenant`: whose sessions are shown, here and there."""
        self._own, self._ask, self._tenant = own, ask, tenant
        self._others: dict[str, _Elsewhere] = {}

    def refresh(self, wanted: set[str]) -> None:
        """Ask the others; `wanted`: sessions to be told of in full."""
        told: dict[str, JsonDict] = {}
        wholes: dict[str, JsonDict] = {}
        for answer in self._ask("board", {"open": sorted(wanted), "tenant": self._tenant}):
            for summary in answer.get("sessions", ()):
                before = told.get(summary["session_id"])
                if before is None or before["state"] == "ended":  # it has moved, and lives on somewhere
                    told[summary["session_id"]] = summary
            wholes |= answer.get("open", {})
        for session_id in set(self._others) - set(told):
            del self._others[session_id]
        for session_id, summary in told.items():
            other = self._others.setdefault(session_id, _Elsewhere(summary))
            other.told = summary
            other.whole = wholes.get(session_id, other.whole if session_id in wanted else {})

    def sessions(self) -> dict[str, ShownSession]:
        """As of `Board`."""
        all_of_them: dict[str, ShownSession] = {**self._own.sessions()}
        for session_id, other in self._others.items():
            mine = self._own.find(session_id)
            if mine is None or mine.ended_at_s is not None:
                all_of_them[session_id] = other
        return all_of_them

    def find(self, session_id: str) -> ShownSession | None:
        return self.sessions().get(session_id)


def answer(boards: Boards, asked: JsonDict, now_s: float) -> JsonDict:
    """What a worker tells of its own."""
    sessions = boards.of(asked["tenant"]).sessions()
    whole = {i: sessions[i].details(snapshot=True) for i in asked["open"] if i in sessions}
    return {"sessions": [state.summary(now_s) for state in sessions.values()], "open": whole}
