"""Labels that somebody gave to results, in the folder that holds these: `labels.json`, a label by id."""

from __future__ import annotations

from pathlib import Path

import orjson

from tools.output import write

NAME = "labels.json"
FORMAT = 1
LONGEST = 64  # characters of a label


def read(top: Path) -> dict[str, str]:
    """By id; empty where there are none. Raises ValueError, and OSError."""
    path = top / NAME
    try:
        held = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError as wrong:
        raise ValueError(f"{path}: not JSON: {wrong}") from None
    labels = held.get("labels") if isinstance(held, dict) and held.get("format") == FORMAT else None
    if not isinstance(labels, dict) or not all(isinstance(name, str) and name for name in labels.values()):
        raise ValueError(f'{path}: expected {{"format": {FORMAT}, "labels": {{id: label}}}}')
    return labels


def save(top: Path, labels: dict[str, str]) -> None:
    """All of them or none. Raises OSError."""
    told = {"format": FORMAT, "labels": labels}
    write(top / NAME, orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


def clean(label: str) -> str:
    """As it is kept. Raises ValueError for one that nobody could read."""
    label = " ".join(label.split())
    if not 0 < len(label) <= LONGEST or not label.isprintable():
        raise ValueError(f"a label is 1 to {LONGEST} characters that can be seen")
    return label
