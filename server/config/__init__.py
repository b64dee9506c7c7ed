"""Settings: what can be set (`settings`, `alerts`), how it is read (`loading`), old names (`renames`)."""

from server.config.errors import ConfigError, refusal
from server.config.loading import load
from server.config.settings import (
    ChannelsSection,
    Config,
    FileSettings,
    FilesSection,
    LimitsSection,
    PolicySection,
    RedisSection,
    ServerSection,
)

__all__ = [
    "ChannelsSection",
    "Config",
    "ConfigError",
    "FileSettings",
    "FilesSection",
    "LimitsSection",
    "PolicySection",
    "RedisSection",
    "ServerSection",
    "load",
    "refusal",
]
