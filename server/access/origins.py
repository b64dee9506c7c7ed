"""Pages of other sites: those of `server.cors_origins` may connect and call the HTTP interface, others may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class Origins:
    """Whose pages are served: this server's own, and those listed, with commas between; "*" means all."""

    def __init__(self, listed: str) -> None:
        others = {origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()}
        self.all = "*" in others
        self._others = others

    def lists(self, origin: str) -> bool:
        """Whether pages of this other origin are served."""
        return self.all or origin in self._others

    def allow(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Whether a page of `origin` may do what this request asks. The Host has been checked (server.hosts)."""
        if origin is None:
            return self.all
        try:
            own = urlsplit(origin).netloc.lower()
        except ValueError:
            own = ""
        return self.lists(origin) or bool(own and own == str(environ.get("HTTP_HOST", "")).lower())
