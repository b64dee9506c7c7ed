"""In which language people are told things, and the texts in it (docs/decisions/0017).

Every text is written in English where it arises, and is the key to its Chinese one in `chinese.CATALOG`. It is
translated at the door, where it is known who reads it; the log stays English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs

from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from server.language.chinese import CATALOG
from server.language.of_pydantic import PYDANTIC

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_PLACE = re.compile(r"\{(\w+)\}")
_LONGEST = 2000  # a longer text stays as it is: looking for its pattern has a price
_DEPTH = 4  # of texts within texts


def in_language(text: str, language: Language) -> str:
    """`text`, one that the server says, in `language`; as it is where there is no other."""
    return text if language == "en" else _chinese(text, _DEPTH)


def of_request(environ: Mapping[str, Any], default: Language) -> Language:
    """The reader's of a request: `?lang=` of its address, or else its Accept-Language, or else `default`."""
    asked = parse_qs(environ.get("QUERY_STRING", "")[:4000]).get("lang", [""])[0][:2].lower()
    for language in LANGUAGES:
        if asked == language:
            return language
    accepted = parse_accept_header(environ.get("HTTP_ACCEPT_LANGUAGE", "")[:400], LanguageAccept)
    # The default first: it wins where both are as welcome (`*`).
    best = accepted.best_match(sorted(LANGUAGES, key=lambda language: language != default), default)
    return "zh" if best == "zh" else "en"


def of_terminal(variables: Mapping[str, str]) -> Language:
    """That of whoever started a program: by LC_ALL, LC_MESSAGES or LANG, the first that is set."""
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := variables.get(name))), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def places(template: str, text: str) -> dict[str, str] | None:
    """What stands in `text` in the places of a template (`at most {n} bytes`); None where it is another text.

    Each place takes as little as it can. No step is taken back: a text made for it costs no more than others.
    """
    first, *rest = _PLACE.split(template)
    if not rest:
        return {} if text == first else None
    end = len(text) - len(rest[-1])
    if not (text.startswith(first) and text.endswith(rest[-1]) and len(first) <= end):
        return None
    found, at = {}, len(first)
    for name, behind in zip(rest[:-2:2], rest[1:-2:2], strict=True):
        until = text.find(behind, at, end)
        if until < 0:
            return None
        found[name], at = text[at:until], until + len(behind)
    return {**found, rest[-2]: text[at:end]}


def _rank(template: str) -> tuple[bool, int]:
    return template.startswith("{"), -len(_PLACE.sub("", template))


# Those that begin with a place come last, since they would take the beginning of a text around them for their own;
# of the others, the most specific first.
_ALL = {**CATALOG, **PYDANTIC}
_TEMPLATES = sorted(_ALL, key=_rank)


def _chinese(text: str, depth: int) -> str:
    if not depth or len(text) > _LONGEST:
        return text
    for template in _TEMPLATES:
        if (found := places(template, text)) is not None:
            parts = {name: _chinese(part, depth - 1) for name, part in found.items()}
            return _ALL[template].format(**parts)
    return text
