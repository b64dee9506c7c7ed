"""Reading the settings: from a file, the environment and the command line; what is wrong, and where."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from server.config.errors import ConfigError
from server.config.renames import COMMAND_LINE, ENVIRONMENT, RENAMED, Renaming, rename, variable
from server.config.settings import Config
from server.config.yaml_lines import line_of, nearest


def load(path: Path | None, options: dict[str, Any] | None = None) -> Config:
    """Read the settings from `path` (None: no file), the environment and command-line `options`.

    Raises ConfigError that names what is wrong and where.
    """
    _refuse_unknown_variables()
    sources = [(path.name, _read(path))] if path else []
    sources += [(ENVIRONMENT, _environment()), (COMMAND_LINE, options or {})]
    given: dict[str, Any] = {}
    old: list[Renaming] = []
    for source, sections in sources:
        renamed, found = rename(sections, source)
        given = _over(given, renamed)
        old += found
    try:
        loaded = Config(**given)
    except ValidationError as wrong:
        lines = [_explain(dict(error), path, options or {}, old) for error in wrong.errors()]
        raise ConfigError("\n".join(lines)) from None
    loaded._warnings = tuple(renaming.warning for renaming in old)
    return loaded


def _environment() -> dict[str, Any]:
    """The sections that variables give."""
    try:
        return EnvSettingsSource(Config)()
    except SettingsError as wrong:
        raise ConfigError(f"environment: {wrong}: lists and sections there are written as JSON") from None


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Sections key by key, those of `above` first."""
    both = {
        name: {**below[name], **section}
        for name, section in above.items()
        if isinstance(section, dict) and isinstance(below.get(name), dict)
    }
    return {**below, **above, **both}


def _read(path: Path) -> dict[str, Any]:
    """The file's sections; one left empty (`speech:`) means its defaults."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as broken:
        raise ConfigError(f"{path}: cannot be read: {broken.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise ConfigError(f"{path}: not YAML: {broken}") from None
    if not isinstance(found, dict | None):
        kind = type(found).__name__
        raise ConfigError(f"{path}: expected sections such as `server:` and `model:`, found a {kind}")
    return {str(name): section for name, section in (found or {}).items() if section is not None}


def _explain(error: dict[str, Any], path: Path | None, options: dict[str, Any], old: list[Renaming]) -> str:
    loc: tuple[str | int, ...] = error["loc"]
    where = ".".join(str(part) for part in loc)
    former = [one for one in old if loc[:2] == (one.section, one.new)]  # the names under which it was written
    variables = ["EMOTION_" + "__".join(map(str, loc[:n])).upper() for n in range(len(loc), 1, -1)]
    variables += [variable(one.section, one.old) for one in former]
    source = next((name for name in variables if name in os.environ), path.name if path else "settings")
    if len(loc) > 1 and loc[1] in options.get(str(loc[0]), {}):
        source = COMMAND_LINE
    line = None
    if path and source == path.name:
        as_written = next(((one.section, one.old) for one in former if one.source == source), loc)
        line = line_of(path.read_text(encoding="utf-8"), as_written)
    what, value = _what(error), repr(error["input"])
    # Whole sentences: each has its Chinese one.
    if not where:
        return f"{source}: settings: {what}"
    if (
        error["type"] == "extra_forbidden"
        or _is_secret(loc)
        or isinstance(error["input"], dict | list | BaseModel)
    ):
        return f"{source}: {where}: {what}" if line is None else f"{source}: line {line}: {where}: {what}"
    if line is None:
        return f"{source}: {where}: {what} (given: {value})"
    return f"{source}: line {line}: {where}: {what} (given: {value})"


def _what(error: dict[str, Any]) -> str:
    """What is wrong with a value."""
    if error["type"] == "extra_forbidden":
        return f"unknown key{_suggest(error['loc'])}"
    said: str = error["msg"].removeprefix("Value error, ")
    if error["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        near = difflib.get_close_matches(str(error["input"]), known, n=1)
        said += f", did you mean {near[0]}?" if near else ""
    return said


def _is_secret(loc: tuple[str | int, ...]) -> bool:
    return "webhooks" in loc or loc[-1] == "token" or loc == ("redis", "url")


def known_paths() -> dict[str, list[str]]:
    return {
        name: list(field.annotation.model_fields)
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _suggest(loc: tuple[str | int, ...]) -> str:
    near = nearest(Config, loc)
    return f", did you mean {near}?" if near else ""


def _refuse_unknown_variables() -> None:
    """A misspelt variable would be passed over in silence: pydantic-settings looks only for those it knows."""
    known = {variable(s, k) for s, keys in known_paths().items() for k in keys}
    known |= {variable(s, k) for s, keys in RENAMED.items() for k in keys}
    known |= {"EMOTION_CONFIG", "EMOTION_DATA"}
    for name in os.environ:
        if name.startswith("EMOTION_") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{name}: unknown environment variable{hint}")
