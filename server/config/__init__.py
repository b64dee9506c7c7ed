"""Settings: what can be set (`settings`, `alerts`), and how it is read (`loading`)."""

from server.config.errors import ConfigError
from server.config.loading import load
from server.config.settings import Channels, Config, Files, FileSettings, Limits, Policy, Server

__all__ = ["Channels", "Config", "ConfigError", "FileSettings", "Files", "Limits", "Policy", "Server", "load"]
