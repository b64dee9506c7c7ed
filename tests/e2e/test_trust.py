"""How far to believe it: one press, on every page, from the model's own figures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Server
from tests.e2e.browser import IN_A_BROWSER, Open, expect
from tests.e2e.test_live_page import chromium, open_page
from tests.server.conftest import running

__all__ = ["chromium", "open_page"]

pytestmark = IN_A_BROWSER


def ask(page: Any) -> Any:
    page.locator("#trust").click()
    return page.get_by_role("dialog")


@pytest.mark.parametrize("path", ["/", "/upload", "/desk"])
def test_every_page_says_how_far_to_believe_it(live_server: Server, open_page: Open, path: str) -> None:
    page = open_page(live_server.url + path)
    sheet = ask(page)
    expect(sheet).to_contain_text("how speech sounds, not what a person feels")
    expect(sheet).to_contain_text("compact was right in 45% of cases at first and in 47%")
    expect(sheet).to_contain_text("Guessing is right in 20%")
    expect(sheet).to_contain_text("German, English, Polish, and Hindi")
    expect(sheet.get_by_role("listitem").first).to_have_text("🤔Otherboredom, and nothing else")
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "trust"
    assert page.faults == []


def test_it_is_said_in_chinese_and_fits_a_phone(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url, locale="zh-CN", viewport={"width": 360, "height": 740})
    sheet = ask(page)
    expect(sheet).to_contain_text("德语、英语、波兰语和印地语")
    expect(sheet).to_contain_text("只代表厌倦")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_model_without_figures_says_so(open_page: Open) -> None:
    with running(model__name="fake") as server:
        page = open_page(server.url)
        sheet = ask(page)
        expect(sheet).to_contain_text("This server has no figures on fake.")
        expect(sheet.get_by_role("listitem")).to_have_count(0)


def test_without_a_token_nothing_is_claimed(open_page: Open) -> None:
    with running(model__name="fake", monitor__token="desk", server__token="sesame") as server:
        page = open_page(server.url + "/desk")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(ask(page)).to_contain_text("The server does not say which model it has")
