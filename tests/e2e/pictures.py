"""The pictures in the docs, from the pages as they are: `python -m tests.e2e.pictures [PART…]`, two minutes.

Real servers, the embedded model and Chromium with a fake microphone; all voices are those of the demo recording.
PART: live, desk, files or sessions; all of them where none is named.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile

from tests.conftest import ROOT, Server
from tests.e2e.browser import CHROMIUM, QUIET, expect, sync_api
from tests.e2e.test_desk import EAGER, Calls, people
from tests.e2e.test_live_page import start, stop

DOCS, DEMO = ROOT / "docs", ROOT / "demo" / "conversation.wav"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 960}}
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 1180}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DARK: dict[str, Any] = {"color_scheme": "dark"}
SPOKEN_S = 24  # before the live pages are looked at
CALLS_S = 40


class Studio:
    """One browser, whose pages hear the demo recording."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self._contexts: list[Any] = []

    def page(self, url: str, **settings: Any) -> Any:
        context = self._chromium.new_context(**{"locale": "en-GB", "reduced_motion": "reduce", **settings})
        self._contexts.append(context)
        page = context.new_page()
        page.goto(url)
        return page

    def close_pages(self) -> None:
        while self._contexts:
            self._contexts.pop().close()


def keep(page: Any, name: str) -> None:
    page.screenshot(path=DOCS / f"{name}.png")
    print(DOCS / f"{name}.png", flush=True)


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(files__outputs=folder, **settings)
        try:
            yield server
        finally:
            server.stop()


def live(studio: Studio) -> None:
    with serving() as server:
        shown = {"live": DESKTOP, "live-dark": {**DESKTOP, **DARK}, "live-phone": PHONE}
        pages = {name: studio.page(server.url, **settings) for name, settings in shown.items()}
        for page in pages.values():
            start(page)
        time.sleep(SPOKEN_S)
        for name, page in pages.items():
            keep(page, name)
        stop(pages["live"])
        pages["live"].wait_for_timeout(1000)
        keep(pages["live"], "live-result")
        studio.close_pages()


def desk(studio: Studio) -> None:
    samples, _ = soundfile.read(DEMO, dtype="int16")
    pcm = np.asarray(samples, "<i2").tobytes()
    with (
        serving(limits__max_sessions_per_connection=20, alerts__rules=EAGER) as server,
        Calls(server, pcm, people(8)) as calls,
    ):
        views = {"": WIDE, "-dark": {**WIDE, **DARK}, "-phone": PHONE}
        pages = {name: studio.page(f"{server.url}/desk", **settings) for name, settings in views.items()}
        time.sleep(CALLS_S)
        for name, page in pages.items():
            keep(page, f"desk{name}")
            page.goto(f"{server.url}/desk#session/{calls.ids[2]}")
            expect(page.locator("#panel-utterances li").first).to_be_visible()
            page.wait_for_timeout(2000)
            keep(page, f"session{name}")
        studio.close_pages()


def files(studio: Studio) -> None:
    with serving() as server:
        for name, settings in {"upload": DESKTOP, "upload-dark": {**DESKTOP, **DARK}}.items():
            page = studio.page(f"{server.url}/upload", **settings)
            page.locator("input[type=radio][value=frame]").check()
            page.locator("input[type=file]").first.set_input_files(DEMO)
            expect(page.locator("#plot canvas").first).to_be_visible()
            page.wait_for_timeout(3000)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=DOCS / f"{name}.png", full_page=True)
            print(DOCS / f"{name}.png", flush=True)
        studio.close_pages()


def sessions(studio: Studio) -> None:
    samples, _ = soundfile.read(DEMO, dtype="int16")
    pcm = np.asarray(samples, "<i2").tobytes()
    with serving(recording__sessions="true", limits__max_sessions_per_connection=20) as server:
        with Calls(server, pcm, people(5)) as calls:
            time.sleep(20)
            for each in calls.ids:
                calls.client.call("stop", {"session_id": each})
        page = studio.page(f"{server.url}/sessions#{calls.ids[1]}", **DESKTOP)
        expect(page.get_by_text("Caller 01").first).to_be_visible()
        page.wait_for_timeout(2000)
        keep(page, "sessions")
        studio.close_pages()


PARTS = {"live": live, "desk": desk, "files": files, "sessions": sessions}


def main(asked: list[str]) -> int:
    strange = [name for name in asked if name not in PARTS]
    if strange or CHROMIUM is None:
        print(
            f"no part is called {strange[0]}: {', '.join(PARTS)}" if strange else "no chromium is installed"
        )
        return 2
    heard = [f"--use-file-for-fake-audio-capture={DEMO}", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        arguments = [*QUIET, "--use-fake-device-for-media-stream", *heard]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        for name in asked or PARTS:
            PARTS[name](Studio(browser))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
