"""tokens.txt → the nine labels; what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.emotion2vec_random import OLD_TOKENS, TOKENS
from stream.models.emotion2vec.labels import BadTokens, map_tokens, read_tokens
from stream.types import LABELS


def test_the_published_tokens() -> None:
    found = map_tokens(list(TOKENS), 9)
    assert found.rows == tuple(range(9))
    assert (found.supported_labels, found.note) == (LABELS, "")


@pytest.mark.parametrize("tokens", [LABELS, tuple(t.split("/")[0] for t in TOKENS), tuple(reversed(TOKENS))])
def test_other_spellings_and_orders(tokens: tuple[str, ...]) -> None:
    found = map_tokens(list(tokens), 9)
    assert sorted(row for row in found.rows if row is not None) == list(range(9))
    row = found.rows[LABELS.index("sad")]
    assert row is not None
    assert tokens[row] in ("sad", "难过", "难过/sad")


def test_an_old_file_gives_five_emotions_and_says_so() -> None:
    found = map_tokens(list(OLD_TOKENS), 9)
    assert found.supported_labels == ("angry", "happy", "neutral", "sad", "unknown")
    assert "only 5 emotions" in found.note
    assert "unuse_*" in found.note


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (TOKENS[:5], "names 5 tokens, but the checkpoint's head gives 9"),
        ((*TOKENS[:8], "bored"), "'bored' in line 9"),
        ((*TOKENS[:8], "angry"), "'angry' comes twice, in lines 1 and 9"),
        ((*TOKENS[:8], ""), "'' in line 9"),
    ],
)
def test_what_does_not_fit_is_named(tokens: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadTokens, match=says):
        map_tokens(list(tokens), 9)


def test_a_missing_label_is_named() -> None:
    with pytest.raises(BadTokens, match="no token for other, unknown"):
        map_tokens([t for t in TOKENS if "other" not in t and t != "<unk>"], 7)


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("\r\n".join(TOKENS) + "\r\n", encoding="utf-8")
    assert read_tokens(path) == list(TOKENS)
    path.write_bytes("生气".encode("gb18030"))
    with pytest.raises(BadTokens, match="UTF-8"):
        read_tokens(path)
