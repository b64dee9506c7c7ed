"""The examples of docs/client-python.md and docs/client-browser.md, run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.client.conftest import RATE
from tests.client.test_browser import CHROMIUM
from tests.conftest import ROOT, Server

WHERE = "http://127.0.0.1:7860"


def examples(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.S)
    assert len(found) >= 3
    return found


@pytest.fixture
def folder(tmp_path: Path, speech: np.ndarray) -> Path:
    soundfile.write(tmp_path / "speech.wav", speech, RATE, subtype="PCM_16")
    return tmp_path


@pytest.mark.slow
def test_the_python_page(server: Server, folder: Path) -> None:
    program = "\n".join(examples("client-python.md", "python")).replace(WHERE, server.url)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "detect_speech" in done.stdout and "utterance: " in done.stdout
    assert "UNSUPPORTED_MEDIA 415" in done.stdout
    assert not done.stderr
    assert (folder / "processed_audio.wav").exists()


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize("number", range(len(examples("client-browser.md", "js"))))
def test_the_browser_page(server: Server, folder: Path, demo_wav: Path, number: int) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments.append(f"--use-file-for-fake-audio-capture={demo_wav}")
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(bypass_csp=True).new_page()
        page.on("console", lambda line: said.append(line.text))
        page.on("pageerror", lambda fault: said.append(f"FAULT {fault}"))
        page.route("**/speech.wav", lambda route: route.fulfill(path=folder / "speech.wav"))
        page.goto(f"{server.url}/healthz")
        example = examples("client-browser.md", "js")[number]
        page.set_content(f'<script type="module">{example}\ndocument.title = "the end";</script>')
        page.wait_for_function("document.title === 'the end'", timeout=30_000)
        browser.close()
    assert not [line for line in said if "FAULT" in line], said
    heard = "\n".join(said)
    wanted = {
        0: ("utterance: ", "connection: online"),
        2: ("recorded: true",),
        4: ("sent: 100 %", "detect_speech", "/embedding.npy"),
    }
    assert all(words in heard for words in wanted.get(number, ())), said


def test_the_copy_that_the_page_describes_is_all_that_is_needed(tmp_path: Path) -> None:
    """Every module that one of them imports is in the folder."""
    folder = shutil.copytree(ROOT / "client" / "js", tmp_path / "js")

    def imported() -> Iterator[str]:
        for module in folder.glob("*.js"):
            yield from re.findall(r'(?:from|import) "(\./[\w-]+\.js)"', module.read_text(encoding="utf-8"))

    assert all((folder / name).exists() for name in imported())
