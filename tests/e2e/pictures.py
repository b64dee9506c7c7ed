"""The pictures in the docs, from the pages as they are: `python -m tests.e2e.pictures [PART…]`, two minutes.

Real servers, the embedded model, Chromium with a fake microphone. With EMOTION_DATA the voices are clips of EmoDB
(CC0), acted in several moods, else those of the demo recording, whose mood is one. PART: live, desk, files or
sessions; all of them where none is named.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.conftest import ROOT, Server
from tests.e2e.browser import CHROMIUM, QUIET, expect, sync_api
from tests.e2e.test_desk import EAGER, Calls, people
from tests.e2e.test_live_page import start, stop
from tests.server.clients import eventually

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
N_CALLERS = 8
MOODS = ["neutral", "angry", "happy", "neutral", "sad", "fearful"]
SPOKEN_S = 24  # before the live pages are looked at
CALLS_S = 40


def spoken() -> list[np.ndarray]:
    """What callers say, int16 at 16 kHz: one mood after the other, each caller beginning with another one."""
    if not os.environ.get("EMOTION_DATA"):
        return [soundfile.read(DEMO, dtype="int16")[0]] * N_CALLERS
    folder, pause = Path(os.environ["EMOTION_DATA"]), np.zeros(12_000, np.int16)
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "emodb" and row["split"] == "test"]
    callers = []
    for caller in range(N_CALLERS):
        moods = MOODS[caller % len(MOODS) :] + MOODS[: caller % len(MOODS)]
        clips = [[row for row in rows if row["emotion"] == mood] for mood in moods]
        chosen = [group[(7 * caller + turn) % len(group)] for turn in range(3) for group in clips]
        parts = [soundfile.read(folder / row["path"], dtype="int16")[0] for row in chosen]
        callers.append(np.concatenate([one for part in parts for one in (part, pause)]))
    return callers


class Studio:
    """One browser, whose microphone hears `wav`."""

    def __init__(self, chromium: Any, wav: Path) -> None:
        self._chromium, self.wav = chromium, wav
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


def calling(server: Server, starts: list[dict[str, Any]]) -> Calls:
    calls = Calls(server, b"", starts)
    calls.speak_instead([np.asarray(one, "<i2").tobytes() for one in spoken()[: len(starts)]])
    return calls


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
    with (
        serving(limits__max_sessions_per_connection=20, alerts__rules=EAGER) as server,
        calling(server, people(N_CALLERS)) as calls,
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
            page.locator("input[type=file]").first.set_input_files(studio.wav)
            expect(page.locator("#plot canvas").first).to_be_visible()
            page.wait_for_timeout(3000)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=DOCS / f"{name}.png", full_page=True)
            print(DOCS / f"{name}.png", flush=True)
        studio.close_pages()


def sessions(studio: Studio) -> None:
    with serving(recording__sessions="true", limits__max_sessions_per_connection=20) as server:
        with calling(server, people(5)) as calls:
            time.sleep(20)
            for each in calls.ids:
                calls.client.call("stop", {"session_id": each})
        eventually(
            lambda: len(json.loads(server.get("/api/v1/sessions")[1])["sessions"]) == 5, "all are kept"
        )
        page = studio.page(f"{server.url}/sessions", **DESKTOP)
        page.get_by_text("Caller 01").first.click()
        expect(page.locator("canvas").first).to_be_visible()
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
    with tempfile.TemporaryDirectory() as folder, sync_api.sync_playwright() as playwright:
        wav = Path(folder) / "conversation.wav"
        soundfile.write(wav, spoken()[0], 16_000)
        heard = [f"--use-file-for-fake-audio-capture={wav}", "--use-fake-ui-for-media-stream"]
        arguments = [*QUIET, "--use-fake-device-for-media-stream", *heard]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        for name in asked or PARTS:
            PARTS[name](Studio(browser, wav))
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
