"""Who somebody is to this server: whose key they hold, of which tenant, and what it lets them do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from server.tenants import DEFAULT

Scope = Literal["stream", "files", "monitor", "records", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class KeyLimits(BaseModel):
    """What the holders of a key may take, all together; null: as much as the server gives."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sessions: int | None = Field(None, ge=0)  # at once
    audio_minutes_per_day: float | None = Field(None, ge=0)  # of live audio; a day is one of UTC
    uploads_per_hour: int | None = Field(None, ge=0)
    upload_mb_per_day: float | None = Field(None, ge=0)


NO_LIMITS = KeyLimits()


@dataclass(frozen=True)
class Identity:
    """Somebody who was let in."""

    scopes: frozenset[Scope]
    tenant: str = DEFAULT
    key: str = ""  # its id; empty: the operator's tokens, or nobody's
    name: str = ""  # as the log and the audit log call them
    limits: KeyLimits = NO_LIMITS
    by_token: bool = False  # of a key's holder, who does not have the key itself


# Whoever comes to a server that asks for nothing.
EVERYBODY = Identity(frozenset(SCOPES) - {"admin"})
