"""The checkpoint's tokens and this server's nine labels. Pure text: no torch, no files but the one it reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stream.types import LABELS, LABELS_ZH

UNUSED = "unuse"  # funasr gives no score to tokens that begin so
_NAMES = {"<unk>": "unknown", "unk": "unknown", **dict(zip(LABELS_ZH, LABELS, strict=True))}


class BadTokens(ValueError):
    """tokens.txt does not fit the nine labels or the checkpoint; the text says how."""


@dataclass(frozen=True)
class TokenMap:
    """Which row of the model's head speaks for which label."""

    tokens: tuple[str, ...]
    rows: tuple[int | None, ...]  # one per label of stream.types.LABELS
    note: str = ""  # what an operator should know

    @property
    def supported_labels(self) -> tuple[str, ...]:
        return tuple(label for label, row in zip(LABELS, self.rows, strict=True) if row is not None)


def read_tokens(path: Path) -> list[str]:
    """One token per line, as funasr reads them. Raises BadTokens, OSError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as broken:
        raise BadTokens(f"{path}: not UTF-8: {broken}") from None
    return [line.rstrip() for line in lines]


def map_tokens(tokens: list[str], head_rows: int, source: str = "tokens.txt") -> TokenMap:
    """Match tokens to labels: `生气/angry`, `angry`, `生气` and `<unk>` are understood; order is the file's.

    `head_rows`: how many scores the checkpoint's head gives. Raises BadTokens when tokens and head differ,
    when a token is no label, when one comes twice, or when a label is missing without an `unuse_*` token to
    explain it.
    """
    if len(tokens) != head_rows:
        raise BadTokens(
            f"{source} names {len(tokens)} tokens, but the checkpoint's head gives {head_rows} scores"
        )
    rows: dict[str, int] = {}
    unused = 0
    for row, token in enumerate(tokens):
        if token.startswith(UNUSED):
            unused += 1
            continue
        label = _label(token)
        if label is None:
            raise BadTokens(f"{source}: {token!r} in line {row + 1} is none of: {', '.join(LABELS)}, <unk>")
        if label in rows:
            raise BadTokens(f"{source}: {label!r} comes twice, in lines {rows[label] + 1} and {row + 1}")
        rows[label] = row
    missing = [label for label in LABELS if label not in rows]
    if missing and not unused:
        raise BadTokens(f"{source}: no token for {', '.join(missing)}; this server's models have nine labels")
    note = ""
    if unused:
        note = (
            f"{source} is an old one: {unused} of its tokens are {UNUSED}_*, so the model gives only {len(rows)} "
            f"emotions ({', '.join(label for label in LABELS if label in rows)}). The newest revision on the hub "
            "has nine; the weights are the same, replacing tokens.txt is enough"
        )
    return TokenMap(tuple(tokens), tuple(rows.get(label) for label in LABELS), note)


def _label(token: str) -> str | None:
    name = token.rsplit("/", 1)[-1].strip().lower()
    name = _NAMES.get(name, name)
    return name if name in LABELS else None
