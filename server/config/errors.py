"""What is raised for a setting that cannot be used, and what is said of it."""

from __future__ import annotations

import os

from server.language import in_language, of_terminal


class ConfigError(Exception):
    """A setting that cannot be used; the text names the file or variable, the path, and what would do."""


def refusal(wrong: str) -> str:
    """What whoever starts a program reads of `wrong`, one fault a line, in the language of the terminal."""
    language = of_terminal(os.environ)
    lines = ("These settings cannot be used:", *wrong.splitlines())
    return "\n".join(in_language(line, language) for line in lines)
