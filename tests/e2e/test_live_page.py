"""The live page in a real browser, against a real server with the embedded model, hearing a fake microphone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Server
from tests.e2e.browser import (
    CHROMIUM,
    IN_A_BROWSER,
    QUIET,
    Open,
    expect,
    give_token,
    same_in_both,
    sync_api,
    watched_page,
)
from tests.server.conftest import running

pytestmark = IN_A_BROWSER

MICROPHONE = [
    *QUIET,
    "--use-fake-device-for-media-stream",
    "--host-resolver-rules=MAP plain.test 127.0.0.1",
]
BARS = "#bars .value"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[[list[str]], Any]]:
    """Launches Chromium with further arguments, once for each set of them."""
    with sync_api.sync_playwright() as playwright:
        launched: dict[tuple[str, ...], Any] = {}

        def launch(args: list[str]) -> Any:
            key = tuple(args)
            if key not in launched:
                launched[key] = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=[*MICROPHONE, *args]
                )
            return launched[key]

        yield launch
        for browser in launched.values():
            browser.close()


@pytest.fixture
def open_page(
    chromium: Callable[[list[str]], Any], demo_wav: Path, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """Opens the live page with a microphone that speaks the demo recording (`mic=False`: one that is denied).

    `faults` on the page lists exceptions and what was logged as an error.
    """
    contexts = []

    def open_page(url: str, mic: bool = True, **settings: Any) -> Any:
        heard = [f"--use-file-for-fake-audio-capture={demo_wav}", "--use-fake-ui-for-media-stream"]
        context = chromium(heard if mic else []).new_context(**{"locale": "en-GB", **settings})
        contexts.append(context)
        return watched_page(context, url)

    yield open_page
    for context in contexts:
        context.close()


def start(page: Any) -> None:
    page.locator("#toggle").click()
    expect(page.locator("#toggle")).to_have_text("Stop")


def stop(page: Any) -> None:
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#toggle")).to_have_text(re.compile("^(Start listening|New session)$"))


def seconds(text: str) -> float:
    """The seconds of a clock like 1:07."""
    minutes, _, rest = text.partition(":")
    return 60 * int(minutes) + int(rest)


def audio_in_summary(page: Any) -> float:
    found = re.search(r"utterances in ([\d.]+) s of audio", page.inner_text("#summary-text"))
    assert found, page.inner_text("#summary-text")
    return float(found[1])


def test_speech_moves_the_scores_and_ends_as_an_utterance(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    expect(page.locator("#connection")).to_have_attribute("data-state", "online")
    expect(page.locator("#model")).to_have_text("compact")
    expect(page.locator("#speech")).to_have_text("Microphone off")
    start(page)
    expect(page.locator("#speech")).to_have_text("Speech")
    expect(page.locator("#hero")).to_have_attribute("data-mode", "emotion")
    before = page.locator(BARS).all_inner_texts()
    assert len(before) == 9
    page.wait_for_function(
        "before => [...document.querySelectorAll('#bars .value')].some((v, i) => v.innerText !== before[i])",
        arg=before,
    )
    shares = [int(text.rstrip("%")) for text in page.locator(BARS).all_inner_texts()]
    assert abs(sum(shares) - 100) <= 5  # nine rounded figures
    level = page.locator("#level")
    page.wait_for_function("() => document.querySelector('#level').ariaValueNow > -50")
    assert -60 <= int(level.get_attribute("aria-valuenow")) <= 0
    expect(page.locator("#speech")).to_have_text("No speech")
    row = page.locator("#utterances li").first
    expect(row.locator(".value")).to_have_text(re.compile(r"^\d+%$"))
    expect(row.locator(".names")).to_have_text(re.compile(r"^[A-Z][a-z]+ [\u4e00-\u9fff]{2}$"))
    expect(page.locator("#delay")).to_have_text(re.compile(r"^\d+ ms$"))
    stop(page)
    # Every chunk reached the server, once.
    assert audio_in_summary(page) == pytest.approx(seconds(page.inner_text("#clock")), abs=1.2)
    assert page.inner_text("#lost") == "0.0 s"
    assert page.faults == []


def test_a_broken_connection_is_resumed_and_nothing_is_lost(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#hero")).to_have_attribute("data-mode", "emotion")
    page.context.set_offline(True)
    expect(page.locator("#state-note")).to_have_text(re.compile(r"[2-9] s of audio kept"))
    page.context.set_offline(False)
    expect(page.locator("#notices")).to_contain_text("the session goes on")
    expect(page.locator("#state")).to_have_text("Connected")
    seen = page.locator("#utterances li").count()
    page.wait_for_function("n => document.querySelectorAll('#utterances li').length > n", arg=seen)
    stop(page)
    assert audio_in_summary(page) == pytest.approx(seconds(page.inner_text("#clock")), abs=1.2)
    assert page.inner_text("#lost") == "0.0 s"


def test_a_restarted_server_means_a_new_session_and_the_page_says_so(
    live_server: Server, open_page: Open
) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).not_to_have_count(0)
    live_server.restart()
    expect(page.locator("#notices")).to_contain_text("a new one has been started")
    expect(page.locator("#state")).to_have_text("Connected")
    seen = page.locator("#utterances li").count()
    page.wait_for_function("n => document.querySelectorAll('#utterances li').length > n", arg=seen)
    stop(page)
    expect(page.locator("#summary")).to_be_visible()


def test_a_denied_microphone_is_told_in_words(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url, mic=False)
    page.get_by_role("button", name="Start listening").click()
    notice = page.locator(".notice.error")
    expect(notice).to_contain_text("The microphone was not allowed.")
    expect(notice).to_contain_text("Allow it for this page")
    expect(page.locator("#toggle")).to_be_enabled()
    notice.get_by_role("button", name="Close").click()
    expect(notice).to_have_count(0)
    assert page.faults == []


def test_an_insecure_page_says_why_there_is_no_microphone(open_page: Open) -> None:
    with running(model__name="fake", server__hosts="plain.test") as server:
        page = open_page(f"http://plain.test:{server.port}")  # neither https nor localhost
        expect(page.locator("#state")).to_have_text("Connected")
        page.get_by_role("button", name="Start listening").click()
        expect(page.locator(".notice.error")).to_contain_text("Open this page through https")
        assert page.faults == []


def test_the_whole_page_changes_language(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url, locale="zh-CN")
    expect(page.locator("#toggle")).to_have_text("开始聆听")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#bars .names").nth(3)).to_have_text("开心 Happy")
    page.get_by_role("button", name="English").click()
    expect(page.locator("#toggle")).to_have_text("Start listening")
    expect(page.locator("#bars .names").nth(3)).to_have_text("Happy 开心")
    assert not re.search("[\u4e00-\u9fff]", page.locator("#privacy").inner_text())
    page.reload()  # the choice is remembered
    expect(page.locator("#toggle")).to_have_text("Start listening")
    assert page.faults == []


def test_both_languages_say_everything(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    words = page.evaluate("() => import('/static/shared/words.js').then(module => module.WORDS)")
    same_in_both(words)
    used = page.evaluate(
        "() => [...document.querySelectorAll('[data-t]')].map(e => e.dataset.t).filter(key => key !== '{name}')"
    )
    assert set(used) <= words["en"].keys()


def test_a_server_with_a_token_is_asked_for_it(open_page: Open) -> None:
    server = Server(server__token="sesame")
    try:
        page = open_page(server.url)
        dialog = give_token(page)
        expect(dialog).not_to_be_visible()
        expect(page.locator("#state")).to_have_text("Connected")
        page.reload()  # kept in this tab
        expect(page.locator("#state")).to_have_text("Connected")
    finally:
        server.stop()


def test_it_fits_a_phone_and_works_by_keyboard(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for _ in range(6):  # past the four pages, and how far to believe them
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "language"
    for control in ("source", "toggle"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == control
    page.keyboard.press("Enter")
    expect(page.locator("#toggle")).to_have_text("Stop")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_resampling_keeps_speech_and_removes_what_would_alias(
    live_server: Server, open_page: Open, rate: int
) -> None:
    page = open_page(live_server.url)
    worst, left, alike = page.evaluate(
        """async rate => {
            const { Resampler } = await import('/client/resample.js');
            const tone = f => Float32Array.from({ length: rate }, (_, i) => Math.sin(2 * Math.PI * f * i / rate));
            const convert = (input, piece) => {
                const resampler = new Resampler(rate, 16000);
                const out = [];
                for (let i = 0; i < input.length; i += piece)
                    out.push(...resampler.push(input.subarray(i, i + piece)));
                return out;
            };
            const middle = [2000, 14000];
            let worst = 0;
            for (const f of [100, 1000, 5000]) {
                const out = convert(tone(f), 128);
                for (let i = middle[0]; i < middle[1]; i++)
                    worst = Math.max(worst, Math.abs(out[i] - Math.sin(2 * Math.PI * f * i / 16000)));
            }
            const left = Math.max(...convert(tone(9000), 128).slice(...middle).map(Math.abs));
            const [small, large] = [convert(tone(700), 128), convert(tone(700), 1000)];
            return [worst, left, small.length === large.length && small.every((v, i) => v === large[i])];
        }""",
        rate,
    )
    assert worst < 1e-4  # the tone itself, in its place
    assert left < 1e-3  # 9 kHz cannot be said at 16 kHz: at least 60 dB down, not folded to 7 kHz
    assert alike  # however the browser cuts its audio
