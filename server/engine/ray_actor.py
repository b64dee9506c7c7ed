"""What a replica on a Ray cluster is made of: one model, and windows by the batch. `ray_worker.ModelActor` is what
Ray makes, places and makes anew; this file does not know Ray.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from server.engine.messages import Answers, Fatal, Ready, pack, unpack_window
from server.engine.scoring import score_timed
from server.engine.worker import load, why_not_loaded
from stream.types import CountsFallbacks


class RemoteModel:
    """`number`: from 0 on; `args`: as a model process is given them."""

    def __init__(self, number: int, args: dict[str, Any]) -> None:
        self._number, self._life = number, uuid.uuid4().bytes
        try:
            self._model = load(args)
        except Exception as wrong:  # told by `hello`: Ray would try again and again
            self._hello: Ready | Fatal = Fatal(why_not_loaded(args["model"], wrong))
        else:
            self._hello = Ready(self._model.spec)

    def hello(self) -> list[bytes]:
        """Ready or Fatal, packed, and in which of its lives it says so."""
        return [*(bytes(frame) for frame in pack(self._hello)), self._life]

    def score(self, windows: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Packed windows to packed Answers. In the place of when a window was submitted, which only its own
        machine's clock knows, is how long it has waited.
        """
        now = time.monotonic()
        tickets, asked, waited = zip(*map(unpack_window, windows), strict=True)
        scored = score_timed(self._model, list(asked), [now - waited_s for waited_s in waited])
        items = [(ticket, *answer) for ticket, answer in zip(tickets, scored, strict=True)]
        fallbacks = self._model.fallbacks if isinstance(self._model, CountsFallbacks) else {}
        return [bytes(frame) for frame in pack(Answers(items, fallbacks, self._number))]
