"""The board in a real browser: fifty results of five days, heard, labeled and taught from; in both languages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

from stream import custom_labels
from tests.conftest import ROOT
from tests.e2e.browser import (
    CHROMIUM,
    IN_A_BROWSER,
    QUIET,
    Open,
    expect,
    same_in_both,
    sync_api,
    watched_page,
)
from tools import labels

pytestmark = IN_A_BROWSER

DAYS, EACH_DAY = 5, 10


def cli(*arguments: object) -> str:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> Path:
    """Results of the embedded model as the server keeps them; odd ones by telephone, one without its audio."""
    top = tmp_path_factory.mktemp("fifty")
    for i in range(DAYS * EACH_DAY):
        at = 3 * 16_000 * i % (len(demo_samples) - 4 * 16_000)
        heard = demo_samples[at + 100 * i : at + 4 * 16_000]
        sound = np.repeat(heard[::4], 4) if i % 2 else heard
        (top / "calls").mkdir(exist_ok=True)
        soundfile.write(top / "calls" / f"{i:02}.wav", sound, 16_000, subtype="PCM_16")
    cli("analyze", top / "calls", "--out", top / "found", "--embeddings")
    results = top / "results"
    results.mkdir()
    for i in range(DAYS * EACH_DAY):
        day, number = divmod(i, EACH_DAY)
        when = datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(days=day, minutes=20 * number)
        home = results / f"outputs_{when:%Y%m%d_%H%M%S}"
        (top / "found" / "files" / f"{i:02}.wav").rename(home)
        told = json.loads((home / "result.json").read_bytes())
        told |= {"timestamp_utc": when.isoformat(), "file_name": f"客户 {i:02}.wav"}
        (home / "result.json").write_text(json.dumps(told), encoding="utf-8")
    (results / "outputs_20260302_090000" / "processed_audio.wav").unlink()
    return results


class Board:
    """`tools board` as somebody runs it."""

    def __init__(self, folder: Path, taught: Path) -> None:
        command = [sys.executable, "-m", "cli", "tools", "board", folder, "--method", "pca", "-k", 4]
        self.process = subprocess.Popen(
            [*map(str, command), "--taught", str(taught)],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "EMOTION_FILES__OUTPUTS": str(folder),
                "EMOTION_SERVER__PUBLIC_URL": "https://emotion.example.com/",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", said)
        assert found is not None, said + str(self.process.communicate(timeout=20))
        self.url = found[0]
        self.taught = taught

    def stop(self) -> str:
        """Ctrl-C; what it said meanwhile."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, err
        return out + err


@pytest.fixture(scope="module")
def board(fifty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    board = Board(fifty, tmp_path_factory.mktemp("taught"))
    yield board
    assert board.url.split("/")[3] not in board.stop(), "a line per request would tell the secret"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_board(chromium: Any, board: Board) -> Iterator[Open]:
    contexts = []

    def open_board(query: str = "", **settings: Any) -> Any:
        viewport = {"width": 1280, "height": 900}
        context = chromium.new_context(**{"locale": "en-GB", "viewport": viewport, **settings})
        contexts.append(context)
        page = watched_page(context, board.url + query)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_board
    for context in contexts:
        context.close()


def colors(page: Any) -> set[tuple[int, ...]]:
    """Of the map's pixels, but for what lies under them and their soft edges."""
    page.wait_for_timeout(150)  # it is drawn with the next frame
    found = page.evaluate(
        """() => {
          const map = document.querySelector("#map");
          const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
          const seen = {};
          for (let i = 0; i < data.length; i += 4) {
            const color = data.slice(i, i + 3).join();
            if (data[i + 3] === 255) seen[color] = 1 + (seen[color] ?? 0);
          }
          return Object.keys(seen).filter((color) => seen[color] > 20);
        }"""
    )
    return {tuple(map(int, color.split(","))) for color in found}


def test_open_color_select_listen(open_board: Open) -> None:
    page = open_board()
    expect(page.locator("#map-note")).to_have_text("50 recordings in results · 4 groups, PCA and k-means")
    expect(page.locator("#items tr")).to_have_count(50)
    expect(page.locator("#legend li")).to_have_count(4)
    assert colors(page) == {(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167)}
    page.get_by_text("Emotion", exact=True).first.click()
    kinds = page.locator("#legend li").all_inner_texts()
    emotions = colors(page)
    assert (123, 128, 135) in emotions and len(emotions) == len(kinds), "gray for neutral"

    page.locator("#legend button").first.click()
    n = int(re.findall(r"\d+$", kinds[0])[0])
    expect(page.locator("#selected")).to_have_text(f"{n} selected")
    expect(page.locator("#items tr")).to_have_count(n)
    page.get_by_role("button", name="Select none").click()
    expect(page.locator("#items tr")).to_have_count(50)

    page.get_by_placeholder("Search names").fill("客户 07")
    page.get_by_role("button", name="Listen to 客户 07.wav").click()
    expect(page.locator("#one-name")).to_contain_text("客户 07.wav (outputs_20260302_112000)")
    link = page.get_by_role("link", name="Its page on the server")
    expect(link).to_have_attribute("href", "https://emotion.example.com/result#outputs_20260302_112000")
    expect(page.locator("#audio")).to_have_js_property("paused", False)
    for _ in range(100):
        if page.evaluate("document.querySelector('#audio').currentTime") > 0.2:
            break
        page.wait_for_timeout(100)
    else:
        pytest.fail("it does not play")
    assert not page.faults


def test_a_refusal_is_told_in_the_readers_language(board: Board) -> None:
    for language, words in (
        ("zh-CN", "'numbers' 不是数的列表"),
        ("en", "'numbers' is not a list of numbers"),
    ):
        answer = requests.post(
            f"{board.url}labels", json={"numbers": "x"}, headers={"Accept-Language": language}, timeout=20
        )
        assert answer.json()["error"] == {"code": "OTHER", "message": words}


def test_a_recording_without_audio_says_so(open_board: Open) -> None:
    page = open_board()
    page.get_by_role("button", name="Listen to 客户 00.wav").click()
    expect(page.locator("#one-silent")).to_contain_text("No audio was kept")
    page.get_by_role("button", name="Listen to 客户 01.wav").click()
    expect(page.locator("#one-silent")).to_be_hidden()
    assert all("404" in fault for fault in page.faults)


def test_the_map_by_mouse_by_keyboard_and_with_a_lasso(open_board: Open) -> None:
    page = open_board()
    box = page.locator("#map").bounding_box()
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    heard = page.locator("#announce").inner_text()
    assert re.match(r"客户 \d\d\.wav \(outputs_\d+_\d+\), Group \d, \w+ \d+%", heard)
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#selected")).to_have_text("2 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_have_text("0 selected")

    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
    page.mouse.up()
    expect(page.locator("#selected")).to_have_text("50 selected")
    page.get_by_role("button", name="Lasso").click()

    before = colors(page)
    page.get_by_role("button", name="Zoom in").click(click_count=12)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + 10, steps=5)
    page.mouse.up()
    assert colors(page) != before, "away from most of them"
    page.get_by_role("button", name="Whole").click()
    assert colors(page) == before
    expect(page.locator("#selected")).to_have_text("50 selected")
    assert not page.faults


def give(page: Any, label: str, numbers: range) -> None:
    page.get_by_role("button", name="Select none").click(force=True)
    for i in numbers:
        page.locator(f"#row-{i}").check()
    page.get_by_label("Label", exact=True).last.fill(label)
    page.get_by_role("button", name="Give label").click()
    expect(page.locator("#given")).to_contain_text(f"{label} {len(numbers)}")


def test_labels_are_given_taught_and_used(open_board: Open, board: Board, fifty: Path) -> None:
    page = open_board()
    teach = page.get_by_role("button", name="Teach")
    expect(teach).to_be_disabled()
    give(page, "direct", range(0, 24, 2))
    expect(teach).to_be_disabled()
    give(page, "电话", range(1, 25, 2))
    kept = labels.read(fifty)
    assert kept["outputs_20260302_090000"] == "direct" and sorted(set(kept.values())) == ["direct", "电话"]
    page.get_by_text("Label", exact=True).first.click()
    assert re.findall(r"\w+", page.locator("#legend").inner_text())[:1] == ["direct"]

    page.get_by_label("Name of the classifier").fill("line")
    teach.click()
    taught = page.locator("#taught")
    expect(taught).to_contain_text("On recordings it has not heard: UAR")
    expect(taught).to_contain_text(str(board.taught / "line"))
    expect(taught).to_contain_text("电话")
    made = custom_labels.load(board.taught / "line")
    assert made.labels == ("direct", "电话") and made.figures["clips"] == {"direct": 12, "电话": 12}
    uar = f"UAR {made.figures['uar']:.2f}"
    expect(taught).to_contain_text(uar)

    teach.click()
    notice = page.locator(".notice[data-key=EXISTS]")
    expect(notice).to_contain_text("is there already")
    notice.get_by_role("button", name="Replace it").click()
    expect(taught).to_contain_text(uar)
    expect(notice).to_have_count(0)

    # The same from the command line, and the next board has them.
    assert uar in cli("tools", "teach", fifty, "--name", "line", "--out", board.taught / "again")
    again = open_board("?lang=zh")
    expect(again.locator("#given")).to_contain_text("direct 12")
    page.locator("#row-0").check()
    page.get_by_role("button", name="Remove label").click()
    expect(page.locator("#given")).to_contain_text("direct 11")
    assert "outputs_20260302_090000" not in labels.read(fifty)
    assert not [
        fault for fault in page.faults if "422" not in fault and "409" not in fault and "404" not in fault
    ]


def test_it_speaks_both_languages_and_fits_a_telephone(open_board: Open) -> None:
    page = open_board(locale="zh-CN", viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.title() == "录音分布图 · emotion-stream"
    expect(page.locator("#map-note")).to_have_text("results 中的 50 条录音 · 4 组，PCA 与 k-means")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    expect(page.locator("#legend li").first).to_contain_text("第 0 组")
    page.get_by_role("button", name="English").click()
    expect(page.locator("#legend li").first).to_contain_text("Group 0")
    own = page.evaluate("() => import('./static/board/words.js').then(module => module.WORDS)")
    same_in_both(own)
    assert open_board("?lang=zh").title() == "录音分布图 · emotion-stream"


# What a reader of screens is told, by the rules that need no library: names, labels, headings, contrast of none.
UNNAMED = """() => [...document.querySelectorAll("button, input, audio, canvas, table, [role]")]
  .filter((one) => one.checkVisibility() && one.type !== "radio")
  .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length || one.title
    || document.getElementById(one.getAttribute("aria-labelledby")?.split(" ")[0])?.textContent.trim()))
  .filter((one) => one.getAttribute("role") !== "status")
  .map((one) => one.outerHTML.slice(0, 120))"""


def test_everything_that_can_be_used_has_a_name_and_can_be_reached_by_keys(open_board: Open) -> None:
    page = open_board()
    assert page.evaluate(UNNAMED) == []
    reached = set()
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"language", "map", "lasso", "zoom-in", "label", "teach-name"} - reached <= {"teach-name"}


def test_nobody_else_is_let_in(board: Board) -> None:
    origin = re.match(r"http://[^/]+", board.url)
    assert origin is not None
    port = origin[0].rpartition(":")[2]
    for path in ("/", "/map", "/wrong/map", "/wrong/audio/1", "/static/board/app.js"):
        assert requests.get(origin[0] + path, timeout=10).status_code == 404, path
    refused = requests.get(f"{board.url}map", headers={"Host": f"evil.example:{port}"}, timeout=10)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "UNKNOWN_HOST"
    body = {"numbers": [1], "label": "x"}
    foreign = requests.post(
        f"{board.url}labels", json=body, headers={"Origin": "https://a.example"}, timeout=10
    )
    assert foreign.status_code == 403
    form = requests.post(f"{board.url}labels", data=json.dumps(body), timeout=10)
    assert form.status_code == 415, "what a form of another page could send"
    for number in ("50", "-1", "..%2f..%2fresult.json", "99999999999999999999999"):
        assert requests.get(f"{board.url}audio/{number}", timeout=10).status_code == 404, number
    for path in ("static/../../config.yaml", "static/..%2f..%2fconfig.yaml"):
        assert requests.get(board.url + path, timeout=10).status_code == 404
    page = requests.get(board.url, timeout=10)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("labels", {"numbers": [500], "label": "x"}, "LABEL"),
        ("labels", {"numbers": [0], "label": " \u200b "}, "LABEL"),
        ("labels", {"numbers": [0], "label": "x" * 65}, "LABEL"),
        ("labels", {"numbers": "all", "label": "x"}, "OTHER"),
        ("labels", {"numbers": [True], "label": "x"}, "OTHER"),
        ("labels", [], "OTHER"),
        ("teach", {"name": "../../x"}, "NAME"),
        ("teach", {"name": ""}, "NAME"),
    ],
)
def test_what_cannot_be_done_is_told_by_its_code(board: Board, path: str, body: object, code: str) -> None:
    answer = requests.post(board.url + path, json=body, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


def test_names_and_days_are_told_by_the_other_tools(fifty: Path, tmp_path: Path) -> None:
    said = cli("tools", "similar", fifty / "outputs_20260303_090000", fifty, "-n", 3)
    assert len(re.findall(r"客户 \d\d\.wav \(outputs_2026030\d_\d{6}\)", said)) == 3
    made = cli("tools", "trend", fifty, "--zone", "UTC", "--language", "zh", "--out", tmp_path)
    assert "50 recordings with speech, 0 without; 5 bins (--by day, UTC)" in made
    days = (tmp_path / "trend.csv").read_text().splitlines()[1:]
    assert [line[:14] for line in days] == [f"2026-03-0{2 + day},10," for day in range(DAYS)]
    cli("tools", "cluster", fifty, "--method", "pca", "--out", tmp_path)
    assert (tmp_path / "clusters.csv").read_text(encoding="utf-8").count("客户") == 50
    assert len(json.loads((tmp_path / "clusters.json").read_bytes())["x"]) == 50
    for language, words in (("en", "Over time"), ("zh", "随时间的变化")):
        cli("tools", "report", fifty, "--language", language, "--out", tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert words in page and page.count("客户") == 50
