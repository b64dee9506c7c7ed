"""Alerts and what is kept, as a person sees them on the live page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server
from tests.e2e.browser import IN_A_BROWSER, Open, expect
from tests.e2e.test_live_page import chromium, open_page, start, stop

__all__ = ["chromium", "open_page"]

pytestmark = IN_A_BROWSER

RULES = [
    {"name": "any", "when": {"sum_of": ["neutral", "sad", "angry", "happy"], "above": 0.3}, "window_s": 1,
     "message": "Somebody speaks <b>", "message_zh": "有人在说话 <b>", "level": "critical"},
]  # fmt: skip


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("kept")
    server = Server(alerts__rules=json.dumps(RULES), recording__sessions="true", files__outputs=folder)
    yield server
    server.stop()


def test_an_alert_is_shown_as_a_notice_and_goes_when_it_is_over(alerting: Server, open_page: Open) -> None:
    page = open_page(alerting.url)
    expect(page.locator("#privacy")).to_contain_text("The scores are recorded, the audio is not.")
    start(page)
    notice = page.locator('.notice[data-key="alert-any"]')
    expect(notice).to_contain_text("Somebody speaks <b>")
    expect(notice).to_contain_text("Alert at 0:0")
    page.get_by_role("button", name="中文").click()
    expect(notice).to_contain_text("警报：有人在说话 <b>")
    expect(page.locator("#privacy")).to_contain_text("评分结果会被记录")
    row = page.locator("#utterances li.alert").last
    expect(row).to_have_text(re.compile(r"^0:0\d⚠警报：有人在说话 <b>$"))
    expect(notice).to_have_class(re.compile("error"))
    top = page.locator("#toggle").bounding_box()
    notice.get_by_role("button", name="关闭").click()
    assert page.locator("#toggle").bounding_box() == top, "an alert pushes nothing away"
    page.get_by_role("button", name="English").click()
    stop(page)
    raised = page.locator("#raised-list li").first
    expect(raised).to_have_text(re.compile(r"^0:0\dAlert: Somebody speaks <b>$"))
    expect(raised).to_have_attribute("data-level", "critical")
    raised.get_by_role("button").click()
    expect(page.locator("#play")).to_have_attribute("data-playing", "true")
    assert page.faults == []
