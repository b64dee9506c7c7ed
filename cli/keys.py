"""`emotion-stream keys`: who may do what, changed while servers run (docs/access.md)."""

from __future__ import annotations

import getpass
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.options import ConfigFile, say, settings, tell
from server.access import audit
from server.access.identity import SCOPES, KeyLimits
from server.access.key_file import Key, KeyFile, now
from server.config import ConfigError
from server.paths import CONFIG
from server.tenants import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Keys of clients: make, list, rotate and revoke them.")

_TIME = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

File = Annotated[
    Path | None, typer.Option("--file", help="The file of keys. [default: access.keys_file of the settings]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the log calls whoever holds it.")],
    scope: Annotated[
        list[str], typer.Option(help="What it opens: stream, files, monitor, records, admin; several times.")
    ],
    tenant: Annotated[str, typer.Option(help="Whose it is: tenants see nothing of each other.")] = DEFAULT,
    expires: Annotated[str | None, typer.Option(help="It ends after: 90m, 24h, 30d.")] = None,
    sessions: Annotated[int | None, typer.Option(help="Live sessions at once.")] = None,
    audio_minutes_per_day: Annotated[float | None, typer.Option(help="Of live audio.")] = None,
    uploads_per_hour: Annotated[int | None, typer.Option(help="Recordings that are sent.")] = None,
    upload_mb_per_day: Annotated[float | None, typer.Option(help="Megabytes of recordings.")] = None,
    file: File = None,
    as_json: AsJson = False,
    config: ConfigFile = CONFIG,
) -> None:
    """Make a key. It is printed once, and kept nowhere: the file holds its hash."""

    def make(keys: KeyFile) -> tuple[Key, str]:
        limits = KeyLimits(
            sessions=sessions,
            audio_minutes_per_day=audio_minutes_per_day,
            uploads_per_hour=uploads_per_hour,
            upload_mb_per_day=upload_mb_per_day,
        )
        until = None if expires is None else now() + _duration(expires)
        unknown = set(scope) - set(SCOPES)
        if unknown:
            raise ConfigError(f"there is no scope {sorted(unknown)[0]}; known: {', '.join(SCOPES)}")
        return keys.add(name, tuple(s for s in SCOPES if s in scope), tenant, limits, until)

    key, presented = _on_file("add", make, file, config)
    _show(key, presented, as_json)


@app.command("list")
def list_keys(file: File = None, as_json: AsJson = False, config: ConfigFile = CONFIG) -> None:
    """List the keys: what they open, and which have ended."""
    keys = _on_file("list", lambda keys: list(keys.read().values()), file, config)
    if as_json:
        typer.echo(json.dumps([_told(key) for key in keys], indent=1))
        return
    for key in keys:
        until = f"  until {key.expires:%Y-%m-%d %H:%M} UTC" if key.expires else ""
        scopes = ",".join(key.scopes)
        typer.echo(f"{key.id}  {key.state(now()):8} {key.tenant:16} {scopes:36} {key.name}{until}")


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="The old one stays good for: 90m, 24h, 7d.")] = "0m",
    file: File = None,
    as_json: AsJson = False,
    config: ConfigFile = CONFIG,
) -> None:
    """Give a key a new secret: what it opens and its limits stay."""
    key, presented = _on_file("rotate", lambda keys: keys.rotate(key_id, _duration(overlap)), file, config)
    _show(key, presented, as_json)


@app.command()
def revoke(key_id: KeyId, file: File = None, as_json: AsJson = False, config: ConfigFile = CONFIG) -> None:
    """End a key: its connections are closed within some seconds, and it opens nothing any more."""
    key = _on_file("revoke", lambda keys: keys.revoke(key_id), file, config)
    if as_json:
        typer.echo(json.dumps(_told(key), indent=1))
    else:
        tell(f"the key {key.id} has been revoked")


def _on_file(command: str, act: Any, file: Path | None, config: Path) -> Any:
    """What `act` gives of the file of keys; ends with what is wrong."""
    access = settings(config, {}).access
    path = file or access.keys_path
    try:
        if path is None:
            raise ConfigError("no file of keys is named: set access.keys_file, or give --file")
        found = act(KeyFile(path))
        if access.audit_path is not None:
            _audit(access.audit_path, command, found)
        return found
    except ConfigError as wrong:
        say(str(wrong))
    except ValidationError as wrong:
        for error in wrong.errors():
            say(f"{'.'.join(map(str, error['loc']))}: {error['msg']}")
    raise typer.Exit(2)


def _audit(path: Path, command: str, found: Any) -> None:
    """Who changed which key, and how. Raises ConfigError."""
    key = found[0] if isinstance(found, tuple) else found
    if not isinstance(key, Key):
        return
    about = {"tenant": key.tenant, "key": key.id, "name": key.name}
    try:
        audit.append(
            path, [audit.entry(f"keys {command}", f"user {getpass.getuser()}", **about, result="ok")]
        )
    except OSError as broken:
        raise ConfigError(f"{path}: cannot be written: {broken.strerror}") from None


def _duration(text: str) -> timedelta:
    """Raises ConfigError."""
    written = _TIME.fullmatch(text)
    if written is None:
        raise ConfigError(f"{text!r} is no time: a number and m, h or d, as in 90m, 24h or 30d")
    return timedelta(**{_UNITS[written[2]]: int(written[1])})


def _show(key: Key, presented: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_told(key), "key": presented}, indent=1))
        return
    tell("this is the key; it is shown once, and kept nowhere:", err=True)
    typer.echo(presented)


def _told(key: Key) -> dict[str, Any]:
    """All but the hashes."""
    told = key.model_dump(mode="json", exclude={"hash", "former"})
    return {**told, "state": key.state(now())}
