"""The reference samples of uploads (`files.samples`), heard once at start: by the processes that hear uploads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from server import system
from server.config import Config
from server.errors import ClientError
from server.files.result import EMBEDDING
from server.files.similarity import MAX_S
from server.uploads.form import Form
from server.uploads.pool import ClientDisconnected, UploadWorkerPool
from stream.types import Floats


class References:
    """Gives them to the pool, once they are known."""

    def __init__(self, config: Config, workers: UploadWorkerPool) -> None:
        self._config, self._workers = config, workers
        self._waiting = bool(config.files.samples) and system.HANDS_OVER_FILES

    def not_ready(self) -> str | None:
        """Why no file is taken yet; None when they are."""
        return "the reference samples are being heard (files.samples)" if self._waiting else None

    def learn(self, gone: Callable[[], bool]) -> None:
        """Hear them, once the model has loaded; ends early when `gone()`. Raises ConfigError."""
        if not self._waiting:
            return
        from server.files import samples  # brings FFmpeg's libraries, which this process has no other use for

        with suppress(ClientDisconnected):
            embed = partial(self._embedding, gone)
            self._workers.samples = samples.load(self._config, self._workers.spec, embed)
            self._waiting = False

    def _embedding(self, gone: Callable[[], bool], recording: Path) -> Floats | None:
        """Raises ClientError, ClientDisconnected, and OSError."""
        form = Form("utterance", True, recording.stat().st_size)
        with tempfile.TemporaryDirectory(prefix="emotion-stream-") as folder:
            found = Path(folder)
            said = self._workers.run(recording, found, form, gone, lambda report: None)
            if said["duration_s"] > MAX_S:
                raise ClientError("FILE_TOO_LARGE", f"longer than {MAX_S} s")
            return np.load(found / EMBEDDING, allow_pickle=False) if said["embedding_saved"] else None
