"""A recording that was sent, from its first byte to its folder of results; and the upkeep of those folders.

An upload goes to the disk as it comes, into the hidden folder that is to be its result; another process recognises
it there (`pool`). Whatever breaks, or a client that goes away, leaves nothing behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import cast

from server import wire
from server.config import Config
from server.errors import ClientError
from server.files.result import AUDIO, CSV, EMBEDDING, RESULT
from server.logs import REQUEST
from server.metrics import Metrics
from server.storage import OutputStore, StoreError, id_of, size_of
from server.uploads import sandbox
from server.uploads.disk_room import DiskRoom, Hold
from server.uploads.form import Form, receive
from server.uploads.pool import Gone, Recognisers
from server.uploads.reception import Reception
from stream.types import JsonDict

PREFIX = "/api/v1/results"
UPKEEP_S = 60.0
LOOK_BYTES = 1 << 20  # after so many of an upload it is looked whether there is room for it

log = logging.getLogger("upload")


@dataclass(frozen=True)
class Answer:
    """What is said beside the fields of result.json, and where these are."""

    head: JsonDict
    result: Path


@dataclass(frozen=True)
class Incoming:
    """A request that carries a form with a recording."""

    read: Callable[[int], bytes]  # what has come of its body: at most so many bytes, none at the end
    content_type: str
    length: int | None  # bytes of the body, where that is told beforehand
    peer: str  # whose it is, by address
    gone: Callable[[], bool]  # whether nobody waits for the answer any more
    break_off: Callable[[], None]  # ends the body


Told = Generator[JsonDict, None, Answer]


class Uploads:
    """All uploads of a server."""

    def __init__(self, config: Config, recognisers: Recognisers, metrics: Metrics) -> None:
        self._files = config.files
        self._recognisers, self._metrics = recognisers, metrics
        self.store = OutputStore(config.files.folder, config.files.keep_days, config.files.keep_gb)
        self._room = DiskRoom(self.store.root, config.files)
        self._reception = Reception(config.files)
        self._stop = threading.Event()
        metrics.files_receiving.set_function(lambda: float(len(self._reception)))
        metrics.files_running.set_function(lambda: float(recognisers.running))

    def start(self) -> None:
        """Begin the upkeep; warns of a folder that cannot be written, and of a system that protects less."""
        if why := self.store.why_not():
            log.error("files cannot be recognised: %s", why)
        if lacks := sandbox.missing():
            log.warning("strangers' files are read with less protection: this system lacks %s", lacks)
        self._reception.start()
        threading.Thread(target=self._keep_up, name="upkeep", daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._reception.close()
        self._recognisers.close()

    def recognise(self, incoming: Incoming) -> Told:
        """Recognise the recording in a request's body: yields `{"step": …}` and `{"progress": …}`, returns the
        answer. The first is yielded when all has been received. Raises ClientError, and Gone.
        """
        request = {"request": asked} if (asked := REQUEST.get()) else {}  # forgotten while an answer streams
        ended, said = "INTERNAL", {}
        try:
            answer = yield from self._recognise(incoming)
            ended, said = "ok", {"result": answer.head["id"]}
            return answer
        except ClientError as refused:
            ended, said = refused.code, {"why": refused.message}
            raise
        except (Gone, GeneratorExit):
            ended = "gone"
            raise
        except StoreError as broken:
            said = {"why": str(broken)}
            raise ClientError("INTERNAL", "the server cannot save results now; tell its operator") from None
        except OSError as broken:
            said = {"why": str(broken)}
            why = broken.strerror or "a fault of the disk"
            raise ClientError(
                "INTERNAL", f"the server cannot save the file: {why}; tell its operator"
            ) from None
        finally:
            self._metrics.files.labels(ended).inc()
            level = logging.ERROR if ended == "INTERNAL" else logging.INFO
            words = "file recognised" if ended == "ok" else "file not recognised"
            log.log(level, words, extra={**request, "code": ended, **said})

    def _recognise(self, incoming: Incoming) -> Told:
        self._recognisers.check_room()  # else the upload would be for nothing
        # The random part keeps a result for those who were told its name.
        with self._room.held(incoming.peer) as hold:
            with self.store.folder("outputs", token_hex(8)) as draft:
                began, upload = time.monotonic(), draft / "upload"
                form = self._received(incoming, upload, hold)
                hold.grow(form.size)

                def look() -> bool:
                    hold.grow(size_of(draft))
                    return incoming.gone()

                ms = round(1000 * (time.monotonic() - began), 1)
                steps: list[JsonDict] = [{"step": "receive", "ms": ms, "detail": f"{form.size} bytes"}]
                with self._recognisers.admitted():
                    yield {"step": steps[0]}
                    summary = yield from self._followed(upload, draft, form, look, steps)
                upload.unlink()
                if not summary["embedding_saved"]:
                    (draft / EMBEDDING).unlink()
                hold.grow(size_of(draft))
            self._room.keep(id_of(draft), hold)
        self._metrics.file_seconds.inc(summary["duration_s"])
        return Answer(self._head(id_of(draft), form, steps, summary), self.store.root / id_of(draft) / RESULT)

    def _received(self, incoming: Incoming, upload: Path, hold: Hold) -> Form:
        with self._reception.admitted(incoming.peer, incoming.break_off) as receipt:

            def count(n: int) -> None:
                receipt.received += n
                if receipt.received > hold.bytes + LOOK_BYTES:
                    hold.grow(receipt.received)

            most = self._files.max_upload_bytes
            return receive(incoming.read, incoming.content_type, incoming.length, upload, most, count)

    def _followed(
        self, upload: Path, draft: Path, form: Form, gone: Callable[[], bool], steps: list[JsonDict]
    ) -> Generator[JsonDict, None, JsonDict]:
        """The work on a file; its steps are entered into `steps`."""
        with closing(self._recognisers.run(upload, draft, form, gone)) as work:
            while True:
                try:
                    told = next(work)
                except StopIteration as done:
                    return cast(JsonDict, done.value)
                if "step" in told:
                    steps.append(told["step"])
                yield told

    def _head(self, name: str, form: Form, steps: list[JsonDict], summary: JsonDict) -> JsonDict:
        """The answer's fields that result.json does not have."""
        folder, saved = f"{self.store.root.name}/{name}", summary["embedding_saved"]
        files = {"result": RESULT, "audio": AUDIO, "csv": CSV, **({"embedding": EMBEDDING} if saved else {})}
        head: JsonDict = {
            "success": True,
            "id": name,
            "result_dir": folder,
            "processed_audio_path": f"{folder}/{AUDIO}",
            "embedding_saved": saved,
            "files": {key: f"{PREFIX}/{name}/{file}" for key, file in files.items()},
            "steps": steps,
        }
        if saved:
            head["embedding_path"] = f"{folder}/{EMBEDDING}"
        elif "embedding_note" in summary:
            head["embedding_note"] = summary["embedding_note"]
        if form.granularity == "frame":  # result.json has frames in their place
            head |= {**summary["verdict"], "frame_ms": wire.FRAME_MS, "step_ms": wire.STEP_MS}
        return head

    def remove(self, name: str) -> bool:
        """Remove a result; False when there is none of that name."""
        gone = self.store.delete(name)
        if gone:
            self._room.removed(name)
        return gone

    def _keep_up(self) -> None:
        while True:
            self._room.sweep_if_due()
            if self._stop.wait(UPKEEP_S):
                return
            self._recognisers.tidy()
