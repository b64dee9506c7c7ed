"""Errors that a client gets to see: a code of the contract, and a sentence that says what to do."""

from __future__ import annotations

# code → HTTP status when it is answered over REST
CODES = {
    "BAD_REQUEST": 400,
    "BAD_AUDIO": 422,
    "UNSUPPORTED_ENCODING": 415,
    "CHUNK_TOO_LARGE": 413,
    "UNAUTHORIZED": 401,
    "NOT_YOUR_SESSION": 403,
    "CLOSED": 403,
    "UNKNOWN_HOST": 400,
    "CROSS_SITE": 403,
    "TOO_MANY_SESSIONS": 429,
    "RATE_LIMITED": 429,
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
    "INTERNAL": 500,
}


RETRY_AFTER_S = {"BUSY": 5, "NOT_READY": 5, "NO_ROOM": 60}  # what a client that is told so may wait for


class ClientError(Exception):
    """Something the client did, or must know: answered with its code, never logged as our fault."""

    def __init__(self, code: str, message: str, next_seq: int | None = None) -> None:
        """`next_seq`: where a client that numbers its chunks should go on, told beside the error."""
        assert code in CODES, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_seq = next_seq

    @property
    def retry_after_s(self) -> int | None:
        """When to try again; None where nothing is known of that."""
        return RETRY_AFTER_S.get(self.code)

    def to_wire(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}
