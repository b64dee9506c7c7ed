"""The live page says no more than is known: how sure, how old, what came of it in all."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Server
from tests.e2e.browser import IN_A_BROWSER, Open, expect
from tests.e2e.test_live_page import audio_in_summary, chromium, open_page, start, stop
from tests.server.conftest import children_of

__all__ = ["chromium", "open_page"]

pytestmark = IN_A_BROWSER


def row(**scores: float) -> str:
    """Nine scores as JavaScript, in the contract's order."""
    labels = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
    return json.dumps([scores.get(label, 0.01) for label in labels])


@pytest.mark.parametrize(
    ("scores", "feeling"),
    [
        (row(angry=0.6, sad=0.2), ("angry", "sad", "sure")),
        (row(angry=0.42, sad=0.33), ("angry", "sad", "either")),
        (row(angry=0.3, sad=0.15), ("angry", "sad", "mixed")),
        (row(angry=0.45, sad=0.3), ("angry", "sad", "mixed")),
        (row(unknown=0.9), ("unknown", "angry", "sure")),
    ],
)
def test_what_is_said_of_scores(
    live_server: Server, open_page: Open, scores: str, feeling: tuple[str, ...]
) -> None:
    page = open_page(live_server.url)
    found = page.evaluate(
        f"import('/static/shared/feeling.js').then(({{ feelingOf }}) => feelingOf({scores}))"
    )
    assert (found["label"], found["other"], found["sure"]) == feeling


def test_a_label_does_not_flicker(live_server: Server, open_page: Open) -> None:
    """None in the first half second of a voice; then another only when it has led by 0.1 for 400 ms."""
    page = open_page(live_server.url)
    states = [
        *((ms, row(angry=0.6, sad=0.2)) for ms in (100, 400, 500, 600)),
        (700, row(angry=0.38, sad=0.42)),  # leads, but by too little
        *((ms, row(angry=0.3, sad=0.5)) for ms in (800, 1000)),
        (1100, row(angry=0.5, sad=0.3)),  # it was for a moment only
        *((ms, row(angry=0.3, sad=0.5)) for ms in (1200, 1400, 1600, 1700)),
    ]
    feelings = page.evaluate(
        """states => import('/static/live/steady.js').then(({ Steady }) => {
            const steady = new Steady();
            steady.begin(0);
            return states.map(([ms, row]) => steady.take(ms, JSON.parse(row)));
        })""",
        states,
    )
    assert feelings[:2] == [None, None]
    named = [feeling["label"] for feeling in feelings[2:]]
    assert named == ["angry"] * 8 + ["sad"] * 2
    assert feelings[2]["sure"] == "sure"
    assert feelings[4]["sure"] == "either", "the one that is held is behind: it is not sure"


def test_what_is_old_is_not_shown_as_of_now(open_page: Open) -> None:
    server = Server()
    try:
        page = open_page(server.url)
        start(page)
        hero, title = page.locator("#hero"), page.locator("#hero-title")
        expect(hero).to_have_attribute("data-mode", "emotion")
        expect(title).to_have_text("Right now")
        (model,) = children_of(server, "server.engine.worker")
        os.kill(model.pid, signal.SIGSTOP)
        expect(title).to_have_text(re.compile(r"^Waiting for the server: its last answer is [3-9] s old$"))
        expect(hero).to_have_attribute("data-age", "waiting")
        expect(page.locator("#speech")).not_to_be_visible()
        os.kill(model.pid, signal.SIGCONT)
        expect(title).to_have_text("Right now")
        page.context.set_offline(True)
        expect(title).to_have_text(re.compile("^Waiting for the server"))
        page.context.set_offline(False)
        expect(title).to_have_text(re.compile(r"^\d+ s behind, catching up$"))
        expect(title).to_have_text("Right now")
        stop(page)
    finally:
        server.stop()


def test_after_stop_the_result_takes_the_place_of_the_emotion_of_now(
    live_server: Server, open_page: Open
) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).to_have_count(2)
    stop(page)
    expect(page.locator("#hero-title")).to_have_text(re.compile(r"^The result, of 0:\d\d$"))
    expect(page.locator("#sure-what")).to_have_text("of the speech")
    bars = [int(text.rstrip("%")) for text in page.locator("#bars .value").all_inner_texts()]
    assert 95 <= sum(bars) <= 105
    assert f"{max(bars)}%" == page.inner_text("#confidence") or page.inner_text("#name") == "No clear emotion"
    rows = list(csv.DictReader(io.StringIO(saved(page, "csv").removeprefix("\ufeff"))))
    told = json.loads(saved(page, "json"))
    assert len(told["rows"]) == len(rows) == page.locator("#utterances li").count()
    for one, other in zip(rows, told["rows"], strict=True):
        assert one["kind"] == other["kind"] == "utterance" and int(one["start_ms"]) == other["start_ms"]
        assert float(one[other["emotion"]]) == other["confidence"]
    assert told["model"] == "compact" and told["audio_ms"] > 3000 and told["share"]
    start(page)
    expect(page.locator("#scores-note")).to_have_text("smoothed")
    expect(page.locator("#saves")).to_be_hidden()
    stop(page)
    assert page.faults == []


def saved(page: Any, ending: str) -> str:
    """The text that its button saves."""
    return saved_file(page, ending).read_text(encoding="utf-8")


def saved_file(page: Any, ending: str, button: str | None = None) -> Path:
    """What its button saves, `#save-ENDING` unless told otherwise."""
    with page.expect_download() as download:
        page.locator(button or f"#save-{ending}").click()
    assert re.fullmatch(rf"emotion-\d{{4}}(-\d\d){{4}}\.{ending}", download.value.suggested_filename)
    return Path(download.value.path())


def test_the_whole_session_is_seen_and_heard_again(
    live_server: Server, open_page: Open, demo_samples: np.ndarray
) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).to_have_count(3)
    stop(page)
    expect(page.locator("#toggle")).to_have_text("New session")
    expect(page.locator("#minute")).to_be_hidden()
    expect(page.locator("#plot canvas")).to_be_visible()
    expect(page.locator("#again-note")).to_contain_text("in this tab alone")
    audio_s = audio_in_summary(page)
    assert page.locator("#stage").get_attribute("aria-valuemax") == pytest.approx(str(round(audio_s, 1)))
    samples, rate = soundfile.read(saved_file(page, "wav"), dtype="float32")
    assert rate == 16_000 and len(samples) / rate == pytest.approx(audio_s, abs=0.2)
    assert np.abs(samples).max() > 0.1 * np.abs(demo_samples).max(), "it is what the microphone gave"
    picture = saved_file(page, "png", "#save-picture").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    row = page.locator("#heard .utterance").nth(1)
    row.click()
    expect(row).to_have_attribute("data-current", "true")
    expect(page.locator("#play")).to_have_attribute("data-playing", "true")
    expect(page.locator("#play")).to_have_attribute("data-playing", "false")  # at the end of the row
    page.locator("#zoom-in").click()
    expect(page.locator("#scroll")).to_be_visible()
    start(page)
    expect(page.locator("#minute")).to_be_visible()
    expect(page.locator("#chart")).to_be_hidden()
    expect(page.locator("#heard")).to_be_hidden()
    stop(page)
    assert page.faults == []


def test_the_recording_goes_on_to_the_page_of_files(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).to_have_count(1)
    stop(page)
    with page.expect_popup() as opened:
        page.locator("#open-in-files").click()
    files = opened.value
    expect(files.locator("#file-name")).to_have_text(re.compile(r"^emotion-.*\.wav$"))
    expect(files.locator("#file-state")).to_have_text("Done")
    length = float(files.locator("#fact-length").inner_text().removesuffix(" s"))
    assert length == pytest.approx(audio_in_summary(page), abs=0.2)


def test_utterances_are_one_stop_for_tab_and_the_arrows_go_on(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).to_have_count(2)
    stop(page)
    rows = page.locator("#heard button")
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Tab")
    assert not page.evaluate("document.querySelector('#heard').contains(document.activeElement)")
    page.keyboard.press("Shift+Tab")
    expect(rows.nth(1)).to_be_focused()


def test_start_keeps_the_focus_and_stops_by_the_same_key(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    page.locator("#toggle").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#toggle")).to_have_text("Stop")
    assert page.evaluate("document.activeElement.id") == "toggle"
    page.keyboard.press("Enter")
    expect(page.locator("#toggle")).to_have_attribute("data-on", "false")
    assert page.evaluate("document.activeElement.id") == "toggle"


NEVER = """() => {
  navigator.mediaDevices.getUserMedia = () => new Promise((allow) => (window.allow = allow));
}"""
LATE = """async () => {
  const context = new AudioContext();
  const stream = context.createMediaStreamDestination().stream;
  window.allow(stream);
  await new Promise((done) => setTimeout(done, 50));
  return stream.getTracks().map((track) => track.readyState);
}"""


def test_who_does_not_answer_the_browsers_question_can_go_back(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    page.evaluate(NEVER)
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator("#name")).to_have_text("Waiting for the microphone")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#toggle")).to_have_text("Start listening")
    expect(page.locator("#name")).to_have_text("Ready when you are")
    assert page.evaluate(LATE) == ["ended"], "what is allowed too late is let go"
    expect(page.locator(".notice")).to_have_count(0)
    assert page.faults == []


def test_audio_that_the_browser_never_starts_is_told(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    page.evaluate("() => { AudioContext.prototype.resume = () => new Promise(() => {}); }")
    page.get_by_role("button", name="Start listening").click()
    expect(page.locator(".notice.error")).to_contain_text("The browser did not start its audio.")
    expect(page.locator("#toggle")).to_have_text("Start listening")


def test_leaving_while_listening_is_asked_about(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    asked: list[str] = []

    def on_dialog(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", on_dialog)
    page.reload()
    start(page)
    page.reload()
    assert asked == ["beforeunload"]
