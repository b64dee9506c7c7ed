"""A board for each tenant: an observer that passes on what happens to the board of the session's own."""

from __future__ import annotations

import threading
from dataclasses import replace

from server.desk.board import Board
from server.observers import SessionEvent, SessionInfo, SessionSummary
from server.tenants import split


class Boards:
    """As many as tenants have had sessions or desks; keys name them, no client does."""

    def __init__(self, ended_ttl_s: float) -> None:
        self._ended_ttl_s = ended_ttl_s
        self._boards: dict[str, Board] = {}
        self._lock = threading.Lock()

    def of(self, tenant: str) -> Board:
        board = self._boards.get(tenant)
        if board is None:
            with self._lock:
                board = self._boards.setdefault(tenant, Board(self._ended_ttl_s))
        return board

    def on_open(self, info: SessionInfo) -> None:
        self.of(info.tenant).on_open(info)

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        tenant, name = split(session_id)
        self.of(tenant).on_event(name, channel, event)

    def on_close(self, summary: SessionSummary) -> None:
        tenant, name = split(summary.session_id)
        self.of(tenant).on_close(replace(summary, session_id=name))
