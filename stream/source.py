"""What a session's bytes are: samples, or a container that is decoded elsewhere. Told by how a stream begins.

Only its beginning is looked at: a stream that was declared or found to be samples stays so, whatever a chunk of it
happens to look like, unless a WAV begins. Where one container has begun, another may follow it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stream.containers import STREAMED, begins_anew, container
from stream.wav import is_wav

Kind = Literal["unknown", "samples", "wav", "container", "refused"]


@dataclass(frozen=True)
class StreamSource:
    """Where a stream stands. `declared`: its encoding by its client's word."""

    declared: str
    kind: Kind = "unknown"
    head: bytes = b""  # how it began, while that does not tell yet
    refused: str = ""  # the container that is not read here, by its name for people

    def sort(self, data: bytes) -> Sorted:
        """Where a chunk goes. Changes nothing: `after` is where the stream stands then."""
        if self.kind in ("container", "refused") and (name := self._begins_anew(data)):
            return Sorted("container", data, replace(self, kind="container"), name)
        if is_wav(data):
            return Sorted("samples", data, replace(self, kind="wav", head=b""))
        if self.kind == "wav" and (name := self._begins_anew(data)):
            return Sorted("container", data, replace(self, kind="container"), name)
        if self.kind == "refused":
            return Sorted("refused", b"", self)
        if self.kind != "unknown":
            return Sorted("container" if self.kind == "container" else "samples", data, self)
        return self._begin(self.head + data)

    @property
    def advice(self) -> str:
        """What to tell whoever sends a container where none is decoded."""
        return (
            f"this is audio in a container ({self.refused}), which is not read here; send PCM or WAV, or all of it"
            " as a file"
        )

    def broken(self) -> StreamSource:
        """Its container cannot be read on: nothing is taken until something else begins."""
        return replace(self, kind="refused")

    def _begin(self, data: bytes) -> Sorted:
        if self.declared in STREAMED:
            return Sorted("container", data, replace(self, kind="container", head=b""), self.declared)
        name = container(data)
        if name == "undecided":
            return Sorted("held", b"", replace(self, head=data))
        if name is None or self.declared == "wav":  # whose own words say what is wrong
            return Sorted("samples", data, replace(self, kind="samples", head=b""))
        if self.declared == "auto" and name in STREAMED:
            return Sorted("container", data, replace(self, kind="container", head=b""), name)
        return Sorted(
            "refused", b"", replace(self, kind="refused", head=b"", refused=STREAMED.get(name, name))
        )

    def _begins_anew(self, data: bytes) -> str | None:
        """The container that begins with `data`, where containers are read; a WAV after one is its decoder's, too:
        nothing overtakes what is still being decoded."""
        if self.declared != "auto" and self.declared not in STREAMED:
            return None
        return "wav" if self.kind == "container" and is_wav(data) else begins_anew(data)


@dataclass(frozen=True)
class Sorted:
    """Bytes, and where they go: to the codec, to the decoder of a container, or nowhere yet.

    `begins`: the container whose first bytes they are.
    """

    kind: Literal["samples", "container", "held", "refused"]
    data: bytes
    after: StreamSource
    begins: str | None = None
