"""Whom an alert is about, as receivers are told: a session that is live, or a recording that was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from server.config import Config
from server.observers import SessionInfo
from server.tenants import DEFAULT
from stream.types import JsonDict


@dataclass(frozen=True)
class Subject:
    """`title` and `tags` are for people, `fields` for programs."""

    source: Literal["session", "file"]
    title: str
    url: str  # where people see more of it
    fields: JsonDict
    tags: Mapping[str, str] = field(default_factory=dict)
    tenant: str = DEFAULT


class Links:
    """Addresses of this server, as people reach it."""

    def __init__(self, config: Config) -> None:
        where = config.server
        host = f"[{where.host}]" if ":" in where.host else where.host
        self._base = where.public_url.rstrip("/") or f"http://{host}:{where.port}"

    def of_session(self, info: SessionInfo) -> Subject:
        """Its place on the desk."""
        url = f"{self._base}/desk#session/{quote(info.session_id, safe='')}"
        fields = {
            "session_id": info.session_id,
            "name": info.name,
            "tags": dict(info.tags),
            "started_utc": info.started_utc,
            "url": url,
        }
        return Subject("session", info.name or info.session_id, url, fields, info.tags, info.tenant)

    def of_file(self, result: str, file_name: str, duration_s: float, tenant: str = DEFAULT) -> Subject:
        """Its page; for programs also its result.json."""
        url = f"{self._base}/result#{result}"
        fields = {
            "result_id": result,
            "file_name": file_name,
            "duration_s": duration_s,
            "url": f"{self._base}/api/v1/results/{result}/result.json",
            "result_url": url,
        }
        return Subject("file", file_name or result, url, fields, tenant=tenant)
