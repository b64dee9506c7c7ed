"""What goes wrong, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RETRYABLE = frozenset(
    {
        "BUSY",
        "DISCONNECTED",
        "INFERENCE_TIMEOUT",
        "NOT_READY",
        "NO_ROOM",
        "OVERLOADED",
        "RATE_LIMITED",
        "TOO_MANY_SESSIONS",
    }
)  # where the server does not say whether trying again helps: servers before 0.2, and errors of this package's own


class EmotionError(Exception):
    """`code`: one of docs/protocol.md, or of this package's own: DISCONNECTED (no connection, or it broke),
    PROTOCOL (the answer is not one of an emotion-stream server), CLOSED (the stream has ended).

    `status`: of the HTTP answer, where there was one. `retry_after`: seconds that the server asks to wait.
    `retryable`: whether the same may succeed a little later; None: as `RETRYABLE` has it for the code.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.retryable = code in RETRYABLE if retryable is None else retryable

    @classmethod
    def of(
        cls, error: Mapping[str, Any], status: int | None = None, retry_after: float | None = None
    ) -> EmotionError:
        """The error that the server has told as `{code, message, retryable?, retry_after_s?}`.

        Raises KeyError without a code.
        """
        retryable = error.get("retryable")
        known = retryable if isinstance(retryable, bool) else None
        told = error.get("retry_after_s")
        wait = float(told) if retry_after is None and isinstance(told, int | float) else retry_after
        return cls(str(error["code"]), str(error.get("message", "")), status, wait, known)
