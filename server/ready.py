"""What whoever started a server is told when it is ready."""

from __future__ import annotations

from server import logs
from server.config import ServerSection
from server.paths import COMMAND
from stream.types import ModelSpec


def announce(server: ServerSection, port: int, spec: ModelSpec) -> None:
    workers = f"\n  workers: {server.n_workers}" if server.n_workers > 1 else ""
    logs.say(
        f"\n  emotion-stream is ready:  http://{server.host}:{port}\n"
        f"  model:  {spec.name} on {spec.device} ({spec.dtype}, {spec.runtime}){workers}\n"
        f"  choose another with --model and --device, or under `model:` in config.yaml;"
        f" `{COMMAND} models` lists them.  Ctrl-C stops.\n"
    )
