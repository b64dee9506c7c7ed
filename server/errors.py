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
    "TOO_MANY_SESSIONS": 429,
    "RATE_LIMITED": 429,
    "NOT_READY": 503,
    "OVERLOADED": 503,
    "INFERENCE_TIMEOUT": 504,
    "INFERENCE_FAILED": 500,
    "INTERNAL": 500,
}


class ClientError(Exception):
    """Something the client did, or must know: answered with its code, never logged as our fault."""

    def __init__(self, code: str, message: str, next_seq: int | None = None) -> None:
        """`next_seq`: where a client that numbers its chunks should go on, told beside the error."""
        assert code in CODES, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_seq = next_seq

    def to_wire(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}
