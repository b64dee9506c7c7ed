"""The page of recorded sessions in a real browser: found, opened, heard, compared, deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Server
from tests.e2e.browser import IN_A_BROWSER, Open, expect, give_token
from tests.e2e.test_live_page import chromium, open_page
from tests.server.clients import BYTES_PER_S, Client, eventually
from tests.server.conftest import running

__all__ = ["chromium", "open_page"]

pytestmark = IN_A_BROWSER

RULES = [{"name": "any", "when": {"sum_of": ["neutral", "sad", "angry", "happy"], "above": 0.3}, "window_s": 1,
          "message": "Somebody speaks", "message_zh": "有人在说话", "level": "critical"}]  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, demo_pcm: bytes) -> Iterator[Server]:
    """A server that has recorded two sessions, sound and all."""
    folder: Path = tmp_path_factory.mktemp("records")
    settings: dict[str, Any] = {
        "recording__sessions": "true",
        "recording__audio": "true",
        "files__outputs": folder,
    }
    with running(alerts__rules=json.dumps(RULES), **settings) as server:
        for name, team, seconds in (("Alice", "billing", 9), ("Bob <b>", "claims", 4)):
            client = Client(server.url)
            client.start(name=name, tags={"queue": team})
            client.speak(demo_pcm[: seconds * BYTES_PER_S])
            client.stop()
            client.close()
        eventually(lambda: server.get("/api/v1/sessions")[1].count('"started_utc"') == 2, "both are written")
        yield server


def opened(page: Any, name: str) -> None:
    page.locator("#rows").get_by_role("button", name=name).click()
    expect(page.locator("#opened-title")).to_have_text(name)
    expect(page.locator("#chart")).to_be_visible()


def test_a_session_is_found_opened_and_heard(recording: Server, open_page: Open) -> None:
    page = open_page(recording.url + "/sessions")
    expect(page.locator("#count")).to_have_text("2 of 2")
    page.locator("#search").fill("bill ali")
    expect(page.locator("#rows li")).to_have_count(1)
    opened(page, "Alice")
    expect(page.locator("#tags")).to_have_text("queue: billing")
    expect(page.locator("#plot canvas")).to_be_visible()
    expect(page.locator("#alerts li").first).to_have_text(re.compile(r"^0:0\d Somebody speaks$"))
    page.locator("#utterances .utterance").first.click()
    expect(page.locator("#play")).to_have_attribute("data-playing", "true")
    with page.expect_download() as download:
        page.locator("#downloads").get_by_text("utterances.csv").click()
    assert download.value.suggested_filename == "Alice_utterances.csv"
    page.reload()  # the address names it
    expect(page.locator("#opened-title")).to_have_text("Alice")
    page.locator("#search").fill("nobody")
    expect(page.locator("#empty")).to_have_text("No session is like that.")
    assert page.faults == []


def test_two_sessions_are_compared(recording: Server, open_page: Open) -> None:
    page = open_page(recording.url + "/sessions")
    for name in ("Bob <b>", "Alice"):
        page.get_by_label(f"Compare {name}").check()
    table = page.locator("#compared")
    expect(table.locator("#first-name")).to_have_text("Bob <b>")
    shares = [
        [int(text.strip("%")) for text in table.locator(f"td:nth-child({column})").all_inner_texts()]
        for column in (2, 3)
    ]
    assert all(95 <= sum(column) <= 105 for column in shares)
    for first, second, told in zip(*shares, table.locator("td:nth-child(4)").all_inner_texts(), strict=True):
        assert abs(second - first - int(told.replace("−", "-"))) <= 1
    page.get_by_role("button", name="中文").click()
    expect(table.locator("#compared-title")).to_have_text("两个会话")
    table.get_by_role("button", name="关闭").click()
    expect(table).to_be_hidden()
    assert page.faults == []


def test_it_fits_a_phone(recording: Server, open_page: Open) -> None:
    page = open_page(recording.url + "/sessions", viewport={"width": 360, "height": 740})
    opened(page, "Alice")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_session_is_deleted_by_two_presses(recording: Server, open_page: Open) -> None:
    page = open_page(recording.url + "/sessions")
    opened(page, "Bob <b>")
    page.locator("#delete").click()
    expect(page.locator("#delete")).to_have_text("Press again to delete it for good")
    expect(page.locator("#count")).to_have_text("2 of 2")
    page.locator("#delete").click()
    expect(page.locator("#notices")).to_contain_text("Bob <b> was deleted.")
    expect(page.locator("#count")).to_have_text("1 of 1")
    expect(page.locator("#opened")).to_be_hidden()
    assert page.faults == []


def test_without_records_it_says_how_to_have_them(open_page: Open, tmp_path: Path) -> None:
    with running(model__name="fake", monitor__token="sesame", files__outputs=tmp_path) as server:
        page = open_page(server.url + "/sessions")
        give_token(page)
        expect(page.locator("#empty")).to_contain_text("recording.sessions in config.yaml")
        expect(page.locator("#connection")).to_have_text("Connected")
