"""Where in a settings file something stands, and what a misspelt word may have meant."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence

import yaml
from pydantic import BaseModel

Path = Sequence[str | int]


def line_of(text: str, path: Path) -> int | None:
    """The line, from 1, of what `path` leads to, or of the last part of it that is there; None when none is."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            key, node = found[-1]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def nearest(model: type[BaseModel], path: Path) -> str | None:
    """What `path`, whose last part is not known, may have meant in its place."""
    for part in path[:-1]:
        if isinstance(part, str):
            field = model.model_fields.get(part)
            inner = _model_in(field.annotation) if field else None
            if inner is None:
                return None
            model = inner
    near = difflib.get_close_matches(str(path[-1]), list(model.model_fields), n=1)
    return near[0] if near else None


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds: itself, one of several, or as the items of a list."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for inner in typing.get_args(annotation) if (found := _model_in(inner))), None)
