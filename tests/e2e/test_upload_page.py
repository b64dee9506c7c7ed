"""The page of files in a real browser, against a real server with the embedded model."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Server
from tests.e2e.browser import (
    CHROMIUM,
    IN_A_BROWSER,
    QUIET,
    Open,
    expect,
    names_what_is_known,
    same_in_both,
    sync_api,
    watched_page,
)

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server that keeps its results in a folder of its own."""
    server = Server(files__outputs=tmp_path_factory.mktemp("outputs"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """Opens the page of files. `faults` lists exceptions and what was logged as an error."""
    contexts = []

    def open_page(url: str, **settings: Any) -> Any:
        viewport = {"width": 1280, "height": 900}
        context = chromium.new_context(**{"locale": "en-GB", "viewport": viewport, **settings})
        contexts.append(context)
        return watched_page(context, f"{url}/upload")

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> list[Path]:
    """Three recordings, one by a name that a spreadsheet would run, and a text that calls itself one."""
    folder = tmp_path_factory.mktemp("several")
    rate = 16_000
    parts = {"b 3 s.wav": (3, 1), "a 9 s.flac": (9, 1), '=HYPERLINK("x"),6 s.wav': (6, 2)}
    for name, (seconds, channels) in parts.items():
        part = demo_samples[: seconds * rate]
        soundfile.write(folder / name, np.repeat(part[:, None], channels, axis=1), rate, subtype="PCM_16")
    (folder / "notes.wav").write_text("this is no recording\n" * 100)
    return [*(folder / name for name in parts), folder / "notes.wav"]


def give(page: Any, *files: Path, granularity: str = "utterance", embedding: bool = False) -> None:
    page.locator(f"[name=granularity][value={granularity}]").check()
    page.locator("[name=embedding]").set_checked(embedding)
    page.locator("#input").set_input_files(files)


def done(page: Any) -> None:
    expect(page.locator("#file-state")).to_have_text("Done")


def at(page: Any) -> float:
    """Where the cursor stands, in seconds."""
    minutes, seconds = page.inner_text("#at").split(":")
    return 60 * int(minutes) + float(seconds)


def saved(page: Any, name: str) -> tuple[str, bytes]:
    """What a click on a download saves: its name and bytes."""
    with page.expect_download() as coming:
        page.locator("#downloads").get_by_text(name, exact=True).click()
    return coming.value.suggested_filename, Path(coming.value.path()).read_bytes()


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        data: bytes = answer.read()
        return data


def test_one_file_gives_its_emotion_its_steps_and_its_files(
    server: Server, open_page: Open, demo_wav: Path
) -> None:
    page = open_page(server.url)
    expect(page.locator("#connection")).to_have_text("Ready")
    give(page, demo_wav, embedding=True)
    done(page)
    expect(page.locator("#file-name")).to_have_text("conversation.wav")
    expect(page.locator("#steps li[data-state=done]")).to_have_count(7)
    times = page.locator("#steps .value").all_inner_texts()
    assert all(re.fullmatch(r"\d+ ms|[\d.]+ s", time) for time in times), times
    expect(page.locator("#queue")).to_be_hidden()  # one file needs no table
    expect(page.locator("#plot")).to_be_hidden()

    base = page.locator("#downloads a").first.get_attribute("href").rsplit("/", 1)[0]
    suffixes = {"result.json": "result.json", "csv": "result.csv", "embedding.npy": "embedding.npy"}
    for suffix, name in suffixes.items():
        suggested, data = saved(page, "CSV" if suffix == "csv" else name)
        assert suggested == f"conversation.{suffix}"
        assert data == fetched(f"{base}/{name}"), name
    assert saved(page, "processed_audio.wav")[1] == fetched(f"{base}/processed_audio.wav")
    result = json.loads(fetched(f"{base}/result.json"))
    names_what_is_known(page, result["scores"])
    assert page.inner_text("#confidence") == f"{int(100 * result['confidence'] + 0.5)}%"
    bars = page.locator("#bars .value").all_inner_texts()
    assert bars == [f"{int(100 * p + 0.5)}%" for p in result["scores"].values()]
    expect(page.locator("#utterances .utterance")).to_have_count(len(result["utterances"]))
    assert np.load(io.BytesIO(fetched(f"{base}/embedding.npy")), allow_pickle=False).ndim == 1
    for width in ("0", "30px", ""):  # no room for a single column, as while the page is being laid out anew
        page.evaluate(
            """width => new Promise(drawn => {
                document.querySelector('#stage').style.width = width;
                requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(drawn)));
            })""",
            width,
        )
    assert page.faults == []

    page.get_by_role("button", name="Delete now").click()
    expect(page.locator("#details")).to_be_hidden()
    with pytest.raises(urllib.error.HTTPError):
        fetched(f"{base}/result.json")
    assert page.faults == []


def test_the_chart_zooms_and_plays(server: Server, open_page: Open, demo_wav: Path) -> None:
    page = open_page(server.url)
    give(page, demo_wav, granularity="frame")
    done(page)
    expect(page.locator("#plot canvas")).to_be_visible()
    painted = """id => { const c = document.querySelector(id);
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v) }"""
    for canvas in ("#plot canvas", "#wave"):
        page.wait_for_function(painted, arg=canvas)
    expect(page.locator("#zoom-all")).to_be_disabled()

    page.locator("#chart").scroll_into_view_if_needed()
    over = page.locator("#over").bounding_box()

    def point(part: float) -> tuple[float, float]:
        return over["x"] + part * over["width"], over["y"] + 50

    page.mouse.move(*point(0.25))
    page.mouse.down()
    page.mouse.move(*point(0.4), steps=4)
    page.mouse.move(*point(0.5), steps=4)
    page.mouse.up()
    expect(page.locator("#zoom-all")).to_be_enabled()
    expect(page.locator("#scroll")).to_be_visible()
    page.mouse.click(*point(0.5))  # the middle of the second quarter
    assert at(page) == pytest.approx(20.665 * 0.375, abs=0.15)
    page.mouse.move(*point(0.6))
    expect(page.locator("#chart-note")).to_have_text(re.compile(r"at 0:08\.\d\d"))
    shares = [
        int(text.rstrip("%")) for text in page.locator("#legend .value").all_inner_texts() if text != "–"
    ]
    assert len(shares) in (0, 9)
    page.mouse.dblclick(*point(0.5))
    expect(page.locator("#zoom-all")).to_be_disabled()
    page.get_by_role("button", name="Zoom in").click()
    expect(page.locator("#scroll")).to_be_visible()
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator("#scroll")).to_be_hidden()

    before, left = at(page), page.locator("#cursor").evaluate("e => parseFloat(e.style.left)")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function(
        "before => parseFloat(document.querySelector('#at').innerText.split(':')[1]) > before + 0.5",
        arg=before,
    )
    assert page.locator("#cursor").evaluate("e => parseFloat(e.style.left)") > left
    page.get_by_role("button", name="Pause").click()
    row = page.locator(".utterance button").nth(1)
    start = row.get_attribute("title")
    row.click()
    found = re.match(r"Play 0:([\d.]+) to 0:([\d.]+)", start)
    assert found
    page.wait_for_function(
        "([a, b]) => { const s = parseFloat(document.querySelector('#at').innerText.split(':')[1]);"
        " return s > a + 0.2 && s < b }",
        arg=[float(found[1]), float(found[2])],
    )
    expect(page.locator(".utterance").nth(1)).to_have_attribute("data-current", "true")
    expect(
        page.get_by_role("button", name="Play", exact=True)
    ).to_be_visible()  # it stops at the utterance's end
    assert at(page) == pytest.approx(float(found[2]), abs=0.2)
    page.locator("#stage").press("Home")
    assert at(page) == 0
    assert page.faults == []


def test_what_the_browser_cannot_play_is_played_as_the_server_heard_it(
    server: Server, open_page: Open, tmp_path: Path, demo_samples: np.ndarray
) -> None:
    foreign = tmp_path / "call.aiff"
    soundfile.write(foreign, demo_samples[:80_000], 16_000)
    page = open_page(server.url)
    give(page, foreign)
    done(page)
    page.wait_for_function("() => document.querySelector('#long').innerText === '0:05'")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => parseFloat(document.querySelector('#at').innerText.split(':')[1]) > 0.3")
    # (That the browser cannot read the file itself is no error of the page.)


def test_several_files_become_a_table_that_is_sorted_and_saved(
    server: Server, open_page: Open, several: list[Path]
) -> None:
    page = open_page(server.url)
    give(page, *several)
    rows = page.locator("#items tr")
    expect(page.locator("#items tr[data-state=done]")).to_have_count(3)
    expect(page.locator("#items tr[data-state=failed]")).to_have_count(1)
    expect(page.locator("#queue-count")).to_have_text("3 of 4 done, 1 not")
    bad = rows.filter(has_text="notes.wav")
    expect(bad.locator(".state")).to_contain_text("not a recording that can be read")

    page.get_by_role("button", name="Length").click()
    expect(page.locator("th.duration")).to_have_attribute("aria-sort", "descending")
    order = [name[:3] for name in page.locator("#items .open").all_inner_texts()]
    assert order == ["a 9", "=HY", "b 3", "not"]
    page.get_by_role("button", name="File", exact=True).click()
    names = page.locator("#items .open").all_inner_texts()
    assert names[1:] == ["a 9 s.flac", "b 3 s.wav", "notes.wav"]
    for column in ("Emotion", "Confidence", "Utterances", "State"):
        page.get_by_role("button", name=column, exact=True).click()
        expect(rows).to_have_count(4)

    bad.click()
    expect(page.locator("#name")).to_have_text("This is not a recording that can be read.")
    expect(page.locator("#name-also")).to_contain_text("Save it as WAV")
    page.get_by_role("button", name="a 9 s.flac", exact=True).click()
    expect(page.locator("#file-name")).to_have_text("a 9 s.flac")
    done(page)

    with page.expect_download() as coming:
        page.get_by_role("button", name="Save as CSV").click()
    text = Path(coming.value.path()).read_bytes().decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(table) == 4
    by_name = {row["file"]: row for row in table}
    assert '\'=HYPERLINK("x"),6 s.wav' in by_name  # a text, no formula
    nine = by_name["a 9 s.flac"]
    assert float(nine["duration_s"]) == 9
    assert (
        sum(float(nine[label]) for label in ("angry", "sad", "neutral", "happy", "other", "unknown")) <= 1.001
    )
    assert by_name["notes.wav"]["error"].startswith("UNSUPPORTED_MEDIA")
    assert not by_name["notes.wav"]["emotion"]

    bad.get_by_role("button", name=re.compile("^Take off")).click()
    expect(rows).to_have_count(3)


def test_formulas_and_quotes_in_a_csv_cell(server: Server, open_page: Open) -> None:
    page = open_page(server.url)
    cells = page.evaluate(
        """() => import('/static/shared/csv.js').then(({ cell }) =>
            ['=1+1', '+1', '-1', '@x', '\\t=1', ' =1', '＝1', 'a,b', 'a"b', 'plain', -1.5, null].map(cell))"""
    )
    assert cells[:7] == ["'=1+1", "'+1", "'-1", "'@x", "'\t=1", "' =1", "'＝1"]
    assert cells[7:] == ['"a,b"', '"a""b"', "plain", "-1.5", ""]


def test_a_server_with_a_token_is_asked_for_it_and_what_waits_goes_on(
    open_page: Open, demo_wav: Path, tmp_path: Path
) -> None:
    server = Server(server__token="sesame", files__outputs=tmp_path / "outputs")
    try:
        page = open_page(server.url)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name="Cancel").click()
        give(page, demo_wav)
        for token in ("wrong", "sesame"):
            expect(dialog).to_be_visible()
            dialog.get_by_label("Token").fill(token)
            dialog.get_by_role("button", name="Connect").click()
            if token == "wrong":
                expect(dialog).to_contain_text("not accepted")
        done(page)
        expect(page.locator("#connection")).to_have_text("Ready")
        name, data = saved(page, "result.json")  # a link cannot carry the token: the page fetches it
        assert name == "conversation.result.json"
        assert json.loads(data)["duration_s"] == pytest.approx(20.665, abs=0.001)
    finally:
        server.stop()


def test_the_page_is_chinese_too(server: Server, open_page: Open, demo_wav: Path) -> None:
    page = open_page(server.url, locale="zh-CN")
    expect(page.locator("#choose")).to_have_text("选择文件")
    give(page, demo_wav)
    expect(page.locator("#file-state")).to_have_text("完成")
    expect(page.locator("#steps")).to_contain_text("检测语音")
    expect(page.locator("#bars .names").nth(3)).to_have_text("开心 Happy")
    page.get_by_role("button", name="English").click()
    done(page)
    expect(page.locator("#steps")).to_contain_text("Detect speech")
    words = page.evaluate("() => import('/static/upload/words.js').then(module => module.WORDS)")
    same_in_both(words)
    known = page.evaluate(
        "() => import('/static/shared/words.js').then(module => Object.keys(module.WORDS.en))"
    )
    used = page.evaluate(
        "() => [...document.querySelectorAll('[data-t], [data-t-label]')]"
        ".flatMap(e => [e.dataset.t, e.dataset.tLabel]).filter(key => key && !key.startsWith('{'))"
    )
    assert set(used) <= set(known)
    assert page.faults == []


def test_uploads_are_canceled_one_by_one_and_all_together(
    server: Server, open_page: Open, several: list[Path]
) -> None:
    page = open_page(server.url)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 20_000}
    network.send("Network.emulateNetworkConditions", slow)
    give(page, *several[:3])
    rows = page.locator("#items tr")
    expect(page.locator("#items tr[data-state=uploading]")).to_have_count(2)
    expect(page.locator("#items tr[data-state=waiting]")).to_have_count(1)  # two at a time
    rows.nth(0).get_by_role("button", name=re.compile("^Cancel")).click()
    expect(rows.nth(0)).to_have_attribute("data-state", "canceled")
    expect(rows.nth(2)).to_have_attribute("data-state", "uploading")
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#items tr[data-state=canceled]")).to_have_count(3)
    network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    page.get_by_role("button", name="Retry failed").click()
    expect(page.locator("#items tr[data-state=done]")).to_have_count(3)
    assert page.faults == []


def test_a_busy_server_is_asked_again_by_itself(server: Server, open_page: Open, demo_wav: Path) -> None:
    page = open_page(server.url)
    asked = []

    def busy_once(route: Any) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()
            return
        said = {"success": False, "error": {"code": "BUSY", "message": "two files at a time"}}
        route.fulfill(status=429, headers={"Retry-After": "2"}, json=said)

    page.route("**/api/v1/emotion/recognize", busy_once)
    give(page, demo_wav)
    expect(page.locator("#file-state")).to_contain_text("Server busy")
    done(page)
    assert len(asked) == 2


def test_a_server_that_is_away_gets_what_waited_when_it_is_back(
    open_page: Open, demo_wav: Path, tmp_path: Path
) -> None:
    server = Server(files__outputs=tmp_path / "outputs")
    try:
        page = open_page(server.url)
        expect(page.locator("#connection")).to_have_text("Ready")
        server.stop()
        give(page, demo_wav)
        expect(page.locator("#notices")).to_contain_text("The server cannot be reached.")
        expect(page.locator("#file-state")).to_have_text("Waiting")
        server.restart()
        done(page)
        expect(page.locator("#notices .notice")).to_have_count(0)
    finally:
        server.stop()


def test_files_are_dropped_and_it_fits_a_phone(server: Server, open_page: Open, several: list[Path]) -> None:
    page = open_page(server.url, viewport={"width": 390, "height": 844})
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            for (const name of ['one.wav', 'two.wav'])
                transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: 'audio/wav' }));
            for (const type of ['dragenter', 'dragover', 'drop'])
                document.querySelector('main').dispatchEvent(
                    new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(several[0].read_bytes()),
    )
    expect(page.locator("#items tr[data-state=done]")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").press("Enter")
    chooser.value.set_files(several[3])
    expect(page.locator("#items tr[data-state=failed]")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.faults == []


def test_hours_are_drawn_in_time_and_the_means_are_right(server: Server, open_page: Open) -> None:
    page = open_page(server.url)
    worst, drawn, gap, listed = page.evaluate(
        """async () => {
            const { Frames } = await import('/static/listen/frames.js');
            const count = 3 * 360_000;  // three hours of speech, with a gap of a minute
            const starts = Array.from({ length: count }, (_, i) => 10 * i + (i < 1000 ? 0 : 60_000));
            const rows = starts.map((_, i) => [i % 2, 0, 0, 0, (i + 1) % 2, 0, 0, 0, 0]);
            const frames = new Frames({ frame_scores: rows, frame_start_ms: starts });
            const took = work => Math.min(...[1, 2, 3].map(() => {
                const begun = performance.now();
                work();
                return performance.now() - begun;
            }));
            const read = took(() => rows.reduce((sum, row) => sum + row[0], 0));
            const drawn = took(() => frames.lines(0, 10_860, 1100)) / read;
            const [times, angry] = frames.lines(0, 10_860, 1100);
            let worst = 0;
            for (const mean of angry) if (mean !== null) worst = Math.max(worst, Math.abs(mean - 0.5));
            const near = frames.lines(9.9, 70.1, 6020);
            const gap = near[1].filter(v => v === null).length;
            const row = frames.at(5.004);
            return [worst, drawn, gap, [row[0], row[4], frames.at(30) ?? null]];
        }"""
    )
    assert worst < 0.01
    assert drawn < 1, (
        "not all frames are looked at, or this would take longer than adding up one number of each"
    )
    assert 5990 <= gap <= 6010  # a minute of frames that were not scored
    assert listed == [0, 1, None]


def test_thousands_of_utterances_scroll(server: Server, open_page: Open) -> None:
    page = open_page(server.url)
    rows = page.evaluate(
        """async () => {
            document.querySelector('#details').hidden = false;
            const { Utterances } = await import('/static/listen/utterances.js');
            const all = Array.from({ length: 5000 }, (_, i) => ({ start_ms: 2000 * i, end_ms: 2000 * i + 1500,
                emotion: 'happy', confidence: 0.5, scores: { happy: 1 } }));
            const list = new Utterances(document.querySelector('#utterances'), () => {});
            list.show(all);
            const first = document.querySelectorAll('.utterance').length;
            list.mark(9001, true);
            await new Promise(requestAnimationFrame);
            const marked = document.querySelector('[data-current=true] .when')?.innerText;
            return [first, document.querySelectorAll('.utterance').length, marked];
        }"""
    )
    assert rows[0] < 60 and rows[1] < 80
    assert rows[2] == "2:30:00"
