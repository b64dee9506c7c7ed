"""The page of one result that the server keeps, in a real browser: as a link in an alert opens it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Server
from tests.e2e.browser import (
    CHROMIUM,
    IN_A_BROWSER,
    QUIET,
    Open,
    expect,
    give_token,
    names_what_is_known,
    sync_api,
    watched_page,
)

pytestmark = IN_A_BROWSER

BEARER = {"Authorization": "Bearer sesame"}
NAME = "面试 1.wav"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("kept")
    rule = {
        "name": "heard",
        "when": {"confidence": "any", "above": 0.01},
        "level": "critical",
        "message": "Heard {emotion}",
        "message_zh": "听到{emotion_zh}",
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps({"alerts": {"rules": [rule]}}), encoding="utf-8")  # JSON is YAML
    server = Server(config=config, server__token="sesame", files__outputs=folder / "results")
    yield server
    server.stop()


def sent(server: Server, wav: Path, granularity: str = "utterance") -> dict[str, Any]:
    with wav.open("rb") as file:
        answer = requests.post(
            f"{server.url}/api/v1/emotion/recognize",
            files={"audio_file": (NAME, file)},
            data={"granularity": granularity, "extract_embedding": "true"},
            headers=BEARER,
            timeout=120,
        )
    found: dict[str, Any] = answer.json()
    assert answer.status_code == 200, found
    return found


@pytest.fixture
def open_page() -> Iterator[Open]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)

        def open_page(url: str, **settings: Any) -> Any:
            viewport = {"width": 1280, "height": 900}
            return watched_page(
                browser.new_context(**{"locale": "en-GB", "viewport": viewport, **settings}), url
            )

        yield open_page
        browser.close()


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_a_link_shows_the_result_to_whoever_has_the_token(
    server: Server, open_page: Open, demo_wav: Path, granularity: str
) -> None:
    result = sent(server, demo_wav, granularity)
    page = open_page(f"{server.url}/result#{result['id']}")
    give_token(page)
    expect(page.locator("#file-name")).to_have_text(NAME)
    expect(page.locator("#connection")).to_have_text("Ready")
    expect(page.locator("#intake")).to_be_hidden()
    names_what_is_known(page, result["scores"])
    assert page.inner_text("#confidence") == f"{int(100 * result['confidence'] + 0.5)}%"
    bars = page.locator("#bars .value").all_inner_texts()
    assert bars == [f"{int(100 * p + 0.5)}%" for p in result["scores"].values()]
    expect(page.locator("#told li")).to_have_text([result["alerts"][0]["message"]])
    expect(page.locator("#utterances .utterance")).to_have_count(len(result["utterances"]))
    expect(page.locator("#plot canvas")).to_have_count(int(granularity == "frame"))
    expect(page.locator("#downloads a")).to_have_count(4)
    expect(page.locator("#steps")).to_be_hidden()

    with page.expect_download() as coming:
        page.locator("#downloads").get_by_text("result.json", exact=True).click()
    kept = json.loads(Path(coming.value.path()).read_bytes())
    assert coming.value.suggested_filename == "面试 1.result.json"
    assert kept == {name: result[name] for name in kept}

    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => parseFloat(document.querySelector('#at').innerText.split(':')[1]) > 0.3")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("#told li")).to_have_text([result["alerts"][0]["message_zh"]])
    expect(page.locator("#file-state")).to_contain_text("识别于")
    assert all("401" in fault for fault in page.faults), page.faults  # before the token was given

    page.get_by_role("button", name="立即删除").click()
    expect(page.locator("#notices")).to_contain_text("已在服务器上删除")
    expect(page.locator("#details")).to_be_hidden()
    gone = requests.get(f"{server.url}{result['files']['result']}", headers=BEARER, timeout=10)
    assert gone.status_code == 404


def test_another_address_shows_another_result_and_one_that_is_gone_says_so(
    server: Server, open_page: Open, demo_wav: Path, demo_samples: Any, tmp_path: Path
) -> None:
    import soundfile

    short = tmp_path / "short.wav"
    soundfile.write(short, demo_samples[:64_000], 16_000)
    one, other = sent(server, demo_wav), sent(server, short)
    page = open_page(f"{server.url}/result#{one['id']}")
    give_token(page)
    expect(page.locator("#fact-length")).to_have_text("20.7 s")
    page.evaluate("id => location.hash = id", other["id"])
    expect(page.locator("#fact-length")).to_have_text("4.0 s")
    page.evaluate("location.hash = '../../v1/status'")
    expect(page.locator("#notices")).to_contain_text("The server no longer has this result.")
    expect(page.locator("#details")).to_be_hidden()
    page.evaluate("id => location.hash = id", one["id"])
    expect(page.locator("#fact-length")).to_have_text("20.7 s")
    expect(page.locator("#notices .notice")).to_have_count(0)


def test_the_page_of_files_links_to_it_and_it_fits_a_phone(
    open_page: Open, demo_wav: Path, tmp_path: Path
) -> None:
    server = Server(files__outputs=tmp_path / "outputs")
    try:
        page = open_page(f"{server.url}/upload", viewport={"width": 390, "height": 844})
        page.locator("#input").set_input_files(demo_wav)
        expect(page.locator("#file-state")).to_have_text("Done")
        page.get_by_role("link", name="Its own page").click()
        expect(page.locator("#file-state")).to_contain_text("Scored")
        expect(page.locator("#file-name")).to_have_text("conversation.wav")
        expect(page.locator("#told")).to_be_visible()  # also where nothing was raised
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.faults == []
    finally:
        server.stop()
