"""A recording that was sent, from its first byte to its folder of results; and the upkeep of those folders.

An upload goes to the disk as it comes, into the hidden folder that is to be its result; another process recognizes
it there (`pool`). Whatever breaks, or a client that goes away, leaves nothing behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import numpy as np

from server import system, wire
from server.access.identity import Identity
from server.access.usage import Usage
from server.config import Config
from server.decoding import sandbox
from server.errors import ClientError
from server.files.result import AUDIO, CSV, EMBEDDING, RESULT, OnProgress, Progress
from server.metrics import Metrics
from server.observers import AlertEvent
from server.storage import StoreError, id_of, size_of
from server.tenants import DEFAULT, TenantStores
from server.uploads.disk_room import DiskRoom, Hold
from server.uploads.form import Form, receive
from server.uploads.pool import ClientDisconnected, UploadWorkerPool
from server.uploads.reception import Reception
from server.uploads.references import References
from stream.types import JsonDict

PREFIX = "/api/v1/results"
NOT_HERE = "files are not taken here: this system cannot hand them to a process of its own; use `analyze`"
UPKEEP_S = 60.0
LOOK_BYTES = 1 << 20  # after so many of an upload it is looked whether there is room for it

log = logging.getLogger("upload")


# The alerts of a recording, in order; its result, its own name, how many seconds it lasts, and whose it is.
OnAlerts = Callable[[Sequence[AlertEvent], str, str, float, str], None]


@dataclass(frozen=True)
class UploadAnswer:
    """What is said beside the fields of result.json, and where these are."""

    head: JsonDict
    result: Path


@dataclass(frozen=True)
class Incoming:
    """A request that carries a form with a recording."""

    read: Callable[[int], bytes]  # what has come of its body: at most so many bytes, none at the end
    content_type: str
    length: int | None  # bytes of the body, where that is told beforehand
    identity: Identity  # whose it is
    peer: str  # the same, by address
    local: bool  # from this machine itself: paths mean something there
    gone: Callable[[], bool]  # whether nobody waits for the answer any more
    break_off: Callable[[], None]  # ends the body


@dataclass
class _Outcome:
    """How an upload ended: its code in metrics and log, and what the log says beside it."""

    code: str = "INTERNAL"
    fields: JsonDict = field(default_factory=dict)


class Uploads:
    """All uploads of a server."""

    def __init__(
        self,
        config: Config,
        workers: UploadWorkerPool,
        metrics: Metrics,
        on_alerts: OnAlerts,
        usage: Usage,
    ) -> None:
        """`on_alerts` is told of each recording of which a rule tells something; `usage`: of keys with limits."""
        self._usage = usage
        self._files, self._on_alerts = config.files, on_alerts
        self._workers, self._metrics = workers, metrics
        self.references = References(config, workers)
        files = config.files
        self.stores = TenantStores(files.folder, files.keep_days, files.keep_gb, files.mode)
        self._rooms: dict[str, DiskRoom] = {}  # by tenant
        self._reception = Reception(config.files)
        self._stop = threading.Event()
        metrics.files_receiving.set_function(lambda: float(len(self._reception)))
        metrics.files_running.set_function(lambda: float(workers.running))

    def start(self) -> None:
        """Begin the upkeep; warns of a folder that cannot be written, and of a system that protects less."""
        if why := self.stores.of(DEFAULT).why_not():
            log.error("files cannot be recognized: %s", why)
        if not system.HANDS_OVER_FILES:
            log.warning(NOT_HERE)
        elif lacks := sandbox.missing():
            log.warning("uploads are decoded with less isolation: this system lacks %s", lacks)
        self._reception.start()
        threading.Thread(target=self._maintain, name="upkeep", daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._reception.close()
        self._workers.close()

    def recognize(self, incoming: Incoming, on_progress: OnProgress = lambda report: None) -> UploadAnswer:
        """Recognize the recording in a request's body; `on_progress` is first called when all has been received.

        Raises ClientError, and ClientDisconnected; nothing is left behind then.
        """
        with self._accounted() as outcome:
            if not system.HANDS_OVER_FILES:
                raise ClientError("CLOSED", NOT_HERE)
            if why := self.references.not_ready():
                raise ClientError("NOT_READY", why)
            self._workers.check_room()  # else the upload would be for nothing
            self._usage.upload(incoming.identity)
            tenant = incoming.identity.tenant
            store, room = self.stores.of(tenant), self._room(tenant)
            # The random part keeps a result for those who were told its name.
            with room.held(incoming.peer) as hold:
                with store.folder("outputs", token_hex(8)) as draft:
                    form, steps, summary = self._fill(draft, incoming, hold, on_progress)
                    hold.grow(size_of(draft))
                room.keep(id_of(draft), hold)
            self._metrics.file_seconds.inc(summary["duration_s"])
            self._metrics.file_results.labels(summary["verdict"]["emotion"]).inc()
            outcome.code, outcome.fields = "ok", {"result": id_of(draft)}
            if summary["alerts"]:
                alerts = [_alert(each) for each in summary["alerts"]]
                self._on_alerts(alerts, id_of(draft), form.file_name, summary["duration_s"], tenant)
            head = self._head(store.root, id_of(draft), form, steps, summary, incoming.local)
            return UploadAnswer(head, store.root / id_of(draft) / RESULT)

    def _fill(
        self, draft: Path, incoming: Incoming, hold: Hold, on_progress: OnProgress
    ) -> tuple[Form, list[JsonDict], JsonDict]:
        """Receive the upload into `draft` and recognize it there: the form, the steps, the worker's summary."""
        began, upload = time.monotonic(), draft / "upload"
        form = self._received(incoming, upload, hold)
        hold.grow(form.size)
        steps: list[JsonDict] = []

        def report(progress: Progress) -> None:
            if "step" in progress:
                steps.append(progress["step"])
            on_progress(progress)

        def gone() -> bool:
            hold.grow(size_of(draft))
            return incoming.gone()

        received = time.monotonic()
        ms = round(1000 * (received - began), 1)
        with self._workers.admitted():
            report({"step": {"step": "receive", "ms": ms, "detail": f"{form.size} bytes"}})
            own = incoming.identity.tenant == DEFAULT
            summary = self._workers.run(upload, draft, form, gone, report, own)
        upload.unlink()
        if not summary["embedding_saved"]:
            (draft / EMBEDDING).unlink()
        self._metrics.file_recognition.observe(time.monotonic() - received)
        return form, steps, summary

    @contextmanager
    def _accounted(self) -> Iterator[_Outcome]:
        """SharedCounts and logs how an upload ended; faults of the disk become ClientErrors."""
        outcome = _Outcome()
        try:
            yield outcome
        except ClientError as refused:
            outcome.code, outcome.fields = refused.code, {"why": refused.message}
            raise
        except ClientDisconnected:
            outcome.code = "gone"
            raise
        except StoreError as broken:
            outcome.fields = {"why": str(broken)}
            raise ClientError("INTERNAL", "the server cannot save results now; tell its operator") from None
        except OSError as broken:
            outcome.fields = {"why": str(broken)}
            why = broken.strerror or "a fault of the disk"
            raise ClientError(
                "INTERNAL", f"the server cannot save the file: {why}; tell its operator"
            ) from None
        finally:
            self._metrics.files.labels(outcome.code).inc()
            level = logging.ERROR if outcome.code == "INTERNAL" else logging.INFO
            words = "file recognized" if outcome.code == "ok" else "file not recognized"
            log.log(level, words, extra={"code": outcome.code, **outcome.fields})

    def _received(self, incoming: Incoming, upload: Path, hold: Hold) -> Form:
        with self._reception.admitted(incoming.peer, incoming.break_off) as receipt:

            def count(n: int) -> None:
                receipt.received += n
                if receipt.received > hold.bytes + LOOK_BYTES:
                    self._usage.upload_bytes(incoming.identity, receipt.received - hold.bytes)
                    hold.grow(receipt.received)

            most = self._files.max_upload_bytes
            form = receive(incoming.read, incoming.content_type, incoming.length, upload, most, count)
            self._usage.upload_bytes(incoming.identity, receipt.received - hold.bytes)
            return form

    def _head(
        self, root: Path, name: str, form: Form, steps: list[JsonDict], summary: JsonDict, local: bool
    ) -> JsonDict:
        """The answer's fields that result.json does not have."""
        saved = summary["embedding_saved"]
        folder = f"{root if local and self._files.absolute_paths else root.name}/{name}"
        head: JsonDict = {
            "success": True,
            "id": name,
            "result_dir": folder,
            "processed_audio_path": f"{folder}/{AUDIO}",
            "embedding_saved": saved,
            "files": addresses(name, saved),
            "steps": steps,
        }
        if saved:
            head["embedding_path"] = f"{folder}/{EMBEDDING}"
        elif "embedding_note" in summary:
            head["embedding_note"] = summary["embedding_note"]
        if form.granularity == "frame":
            head |= {"frame_ms": wire.FRAME_MS, "step_ms": wire.STEP_MS}
        return head

    def remove(self, tenant: str, name: str) -> bool:
        """Remove a result; False when it has none of that name."""
        gone = self.stores.of(tenant).delete(name)
        if gone:
            self._room(tenant).removed(name)
        return gone

    def _room(self, tenant: str) -> DiskRoom:
        if tenant not in self._rooms:
            self._rooms.setdefault(tenant, DiskRoom(self.stores.of(tenant).root, self._files))
        return self._rooms[tenant]

    def _maintain(self) -> None:
        while True:
            for tenant in self.stores.all():
                self._room(tenant).sweep_if_due()
            if self._stop.wait(UPKEEP_S):
                return
            self._workers.reap_idle()


def addresses(name: str, embedded: bool) -> dict[str, str]:
    """Where the files of a result are read."""
    files = {"result": RESULT, "audio": AUDIO, "csv": CSV, **({"embedding": EMBEDDING} if embedded else {})}
    return {key: f"{PREFIX}/{name}/{file}" for key, file in files.items()}


def _alert(told: JsonDict) -> AlertEvent:
    """As the worker packed it."""
    probs = told["probs"]
    return AlertEvent(**{**told, "probs": None if probs is None else np.array(probs, np.float32)})
