"""Errors that a client gets to see: a code of the contract, and a sentence that says what to do."""

from __future__ import annotations

from typing import Any, Literal

from server.language import Language, in_language
from stream.types import FailureCode

Code = (
    FailureCode
    | Literal[
        "BAD_REQUEST",
        "BAD_AUDIO",
        "UNSUPPORTED_ENCODING",
        "CHUNK_TOO_LARGE",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "NOT_YOUR_SESSION",
        "CLOSED",
        "UNKNOWN_HOST",
        "CROSS_SITE",
        "TOO_MANY_SESSIONS",
        "RATE_LIMITED",
        "QUOTA_EXCEEDED",
        "FILE_TOO_LARGE",
        "UNSUPPORTED_MEDIA",
        "NO_AUDIO",
        "BUSY",
        "NO_ROOM",
        "NOT_FOUND",
        "METHOD_NOT_ALLOWED",
        "INTERNAL",
    ]
)

# code → HTTP status when it is answered over REST
CODES: dict[Code, int] = {
    "BAD_REQUEST": 400,
    "BAD_AUDIO": 422,
    "UNSUPPORTED_ENCODING": 415,
    "CHUNK_TOO_LARGE": 413,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_YOUR_SESSION": 403,
    "CLOSED": 403,
    "UNKNOWN_HOST": 400,
    "CROSS_SITE": 403,
    "TOO_MANY_SESSIONS": 429,
    "RATE_LIMITED": 429,
    "QUOTA_EXCEEDED": 429,
    "NOT_READY": 503,
    "OVERLOADED": 503,
    "INFERENCE_TIMEOUT": 504,
    "INFERENCE_FAILED": 500,
    # of files
    "FILE_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA": 415,
    "NO_AUDIO": 422,
    "BUSY": 429,
    "NO_ROOM": 507,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "INTERNAL": 500,
}

# The same request may succeed a little later, with nothing changed. Told to clients as `retryable`.
RETRYABLE: frozenset[Code] = frozenset(
    {"TOO_MANY_SESSIONS", "RATE_LIMITED", "NOT_READY", "OVERLOADED", "INFERENCE_TIMEOUT", "BUSY", "NO_ROOM"}
)
# After how many seconds, where that is known.
RETRY_AFTER_S: dict[Code, int] = {"BUSY": 5, "NOT_READY": 5, "NO_ROOM": 60}


class ClientError(Exception):
    """Something the client did, or must know: answered with its code, never logged as our fault.

    `message` is English; `to_wire` says it in the client's language.
    """

    def __init__(
        self, code: Code, message: str, next_seq: int | None = None, retry_after_s: int | None = None
    ) -> None:
        """`next_seq`: where a client that numbers its chunks should go on, told beside the error.

        `retry_after_s`: when to try again, where that differs from RETRY_AFTER_S.
        """
        super().__init__(message)
        self._retry_after_s = retry_after_s
        self.code: Code = code
        self.message = message
        self.next_seq = next_seq

    @property
    def retry_after_s(self) -> int | None:
        """When to try again; None where nothing is known of that."""
        return self._retry_after_s or RETRY_AFTER_S.get(self.code)

    def to_wire(self, language: Language = "en") -> dict[str, Any]:
        """`code`, `message` in `language`, `retryable`, and `retry_after_s` where it has one of its own."""
        message = in_language(self.message, language)
        told = {"code": self.code, "message": message, "retryable": self.code in RETRYABLE}
        return told if self._retry_after_s is None else {**told, "retry_after_s": self._retry_after_s}


def checked(code: str) -> Code:
    """A code that another process of ours has sent. Raises ValueError for one that is none."""
    if code not in CODES:
        raise ValueError(f"{code!r} is no error code")
    return code


def internal_error() -> ClientError:
    """What a client is told of a fault of ours, whose traceback is in the log."""
    return ClientError("INTERNAL", "internal server error; see the server log")
