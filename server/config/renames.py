"""Keys that had another name until 0.2: the old one is accepted for one version, with a warning that names the
new one. 0.3 refuses them, and this module goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from server.config.errors import ConfigError

# section → {old key: new key}
RENAMED: dict[str, dict[str, str]] = {
    "model": {"taught": "custom_labels"},
    "engine": {"hang_s": "heartbeat_timeout_s"},
    "speech": {"hang_over_ms": "hangover_ms"},
    "limits": {"catch_up": "refill_rate", "ahead_s": "max_ahead_s"},
    "monitor": {"linger_s": "ended_ttl_s"},
}
# Sources of settings beside the file, which has its name.
ENVIRONMENT, COMMAND_LINE = "environment", "command line"


class Renaming(NamedTuple):
    """An old key that was given."""

    source: str
    section: str
    old: str
    new: str

    @property
    def warning(self) -> str:
        """One line for whoever starts the program."""
        old, new = self._spelled(self.old), self._spelled(self.new)
        return f"{self.source}: {old} is now {new}; the old name is accepted until version 0.3"

    @property
    def conflict(self) -> str:
        old, new = self._spelled(self.old), self._spelled(self.new)
        return (
            f"{self.source}: {old} and {new} are the same setting, the latter its new name: leave {old} out"
        )

    def _spelled(self, key: str) -> str:
        if self.source == ENVIRONMENT:
            return variable(self.section, key)
        if self.source == COMMAND_LINE:
            return f"--{key.replace('_', '-')}"
        return f"{self.section}.{key}"


def variable(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"EMOTION_{section}__{key}".upper()


def rename(given: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[Renaming]]:
    """`given`, sections of settings, under today's keys; and the old ones that were found in it.

    Raises ConfigError when a setting is given under both names.
    """
    renamed, found = dict(given), list[Renaming]()
    for section, keys in RENAMED.items():
        values = given.get(section)
        if not isinstance(values, Mapping):
            continue
        here = [Renaming(source, section, old, new) for old, new in keys.items() if old in values]
        for renaming in here:
            if renaming.new in values:
                raise ConfigError(renaming.conflict)
        renamed[section] = {keys.get(key, key): value for key, value in values.items()}
        found += here
    return renamed, found
