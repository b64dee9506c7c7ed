"""What goes wrong, by name."""

from __future__ import annotations


class EmotionError(Exception):
    """`code`: one of docs/protocol.md, or of this package's own: DISCONNECTED (no connection, or it broke),
    PROTOCOL (the answer is not one of an emotion-stream server), CLOSED (the stream has ended).

    `status`: of the HTTP answer, where there was one. `retry_after`: seconds that the server asks to wait.
    """

    def __init__(
        self, code: str, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
