"""The report: one page, complete in itself, that nobody's file name can break."""

from __future__ import annotations

import json
import re
from datetime import UTC
from html.parser import HTMLParser

from tests.tools.conftest import Make, result
from tools import folder, report


def test_the_page_needs_nothing_from_anywhere_and_runs_nothing(make: Make) -> None:
    page = report.page(folder.read(make(60)), zone=UTC)
    assert not re.search(r"(src|href|xlink:href)=\"(?!#)", page)
    assert "<script" not in page and "url(" not in re.sub(r"url\(#", "", page)
    assert "default-src 'none'" in page
    assert "<svg" in page and "var(--angry)" in page and "prefers-color-scheme: dark" in page
    assert re.findall(r"<span>Recordings|Recordings</span><b>60</b>", page)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)


def test_names_and_reasons_are_text_and_never_markup(make: Make) -> None:
    top = make(2)
    (top / "outputs_0000").rename(top / "<img src=x onerror=alert(1)>")
    broken = top / "<b>bold<"
    broken.mkdir()
    (broken / "result.json").write_text("{")
    (top / "outputs_0001" / "result.json").write_text(
        json.dumps(result(0, model="</style><script>", taught={"name": "<i>", "label": "<u>"}))
    )
    page = report.page(folder.read(top), zone=UTC, title="<h3>")
    tags = Tags()
    tags.feed(page)
    assert not {"img", "script", "h3", "u", "em"} & set(tags.found)
    assert tags.found.count("style") == 1, "the page's own"
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
