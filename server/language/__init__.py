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

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_PLACE = re.compile(r"\{(\w+)\}")
_LONGEST = 2000  # a longer text stays as it is: looking for its pattern has a price
_DEPTH = 3  # of texts within texts


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


def pattern_of(template: str) -> re.Pattern[str]:
    """What matches the texts that are made of a template such as `at most {n} bytes`."""
    parts = _PLACE.split(template)
    return re.compile(
        "".join(f"(?P<{part}>.*?)" if i % 2 else re.escape(part) for i, part in enumerate(parts)), re.DOTALL
    )


def _rank(template: str) -> tuple[bool, int]:
    return template.startswith("{"), -len(_PLACE.sub("", template))


# Each with how its texts begin. Those that begin with a place come last, since they would take the beginning of a
# text around them for their own; of the others, the most specific first.
_PATTERNS = [
    (template.partition("{")[0], pattern_of(template), CATALOG[template])
    for template in sorted(CATALOG, key=_rank)
]


def _chinese(text: str, depth: int) -> str:
    if not depth or len(text) > _LONGEST:
        return text
    for beginning, pattern, chinese in _PATTERNS:
        if text.startswith(beginning) and (found := pattern.fullmatch(text)):
            return chinese.format(
                **{name: _chinese(part, depth - 1) for name, part in found.groupdict().items()}
            )
    return text
