"""What every test in a browser needs: Chromium, pages that keep their faults, what all pages have in common."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

CHROMIUM = shutil.which("chromium")
IN_A_BROWSER = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
QUIET = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
PATIENCE_MS = 30_000  # two busy cores: what is being waited for usually takes a tenth of this
expect.set_options(timeout=PATIENCE_MS)

Open = Callable[..., Any]


def watched_page(context: Any, url: str) -> Any:
    """A page at `url`; its `faults` lists exceptions and what was logged as an error."""
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda fault: page.faults.append(str(fault)))
    page.on("console", lambda said: said.type == "error" and page.faults.append(said.text))
    page.goto(url)
    return page


def give_token(page: Any) -> Any:
    """Answer the page's question for the token, wrongly first; the dialog."""
    dialog = page.get_by_role("dialog")
    for token in ("wrong", "sesame"):
        expect(dialog).to_be_visible()
        dialog.get_by_label("Token").fill(token)
        dialog.get_by_role("button", name="Connect").click()
        if token == "wrong":
            expect(dialog).to_contain_text("not accepted")
    return dialog


def names_what_is_known(page: Any, scores: dict[str, float]) -> None:
    """The page names the likeliest emotion, two where the first hardly leads, none where nothing is likely."""
    (first, p), (second, q) = sorted(scores.items(), key=lambda item: -item[1])[:2]
    name = page.inner_text("#name")
    if p - q < 0.1 and q >= 0.25:
        assert name == f"{first.title()} or {second.title()}?"
    elif p < 0.5:
        assert name == "No clear emotion"
        assert page.inner_text("#name-also").startswith(f"{first.title()} {int(100 * p + 0.5)}%, ")
    else:
        assert name == first.title()


def same_in_both(words: dict[str, dict[str, str]]) -> None:
    """English and Chinese have the same keys, and each text the same places for values."""
    assert words["en"].keys() == words["zh"].keys()
    for key in words["en"]:
        places = [sorted(re.findall(r"\{\w+\}", words[language][key])) for language in ("en", "zh")]
        assert places[0] == places[1], key
