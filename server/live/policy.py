"""Whose voice is scored: the one place that decides which channels of a session are heard at all.

A channel that is not watched is dropped by the decoder: nothing behind it, from gate to record, holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.config import ChannelsSection, PolicySection
from server.errors import ClientError


@dataclass(frozen=True)
class ChannelSelection:
    """`names` of the channels that are heard (None: a session's only one); `pick`: as `Decoder` has it."""

    names: tuple[str | None, ...]
    pick: tuple[int, ...] | None
    watch: str = "both"


def select_channels(policy: PolicySection, channels: ChannelsSection, n_channels: int) -> ChannelSelection:
    """What is heard of a session with so many channels. Raises ClientError where the policy lets none be heard."""
    names = (channels.left, channels.right)
    if n_channels == 1:
        if policy.watch != "both" and policy.mono == "refuse":
            raise ClientError(
                "BAD_REQUEST",
                f"this server scores the {policy.watch}'s voice only, and one channel may hold both: start with"
                f" channels: 2, the {names[0]} left and the {names[1]} right",
            )
        return ChannelSelection((None,), None)
    if policy.watch == "both":
        return ChannelSelection(names, (0, 1))
    return ChannelSelection((policy.watch,), (names.index(policy.watch),), policy.watch)
