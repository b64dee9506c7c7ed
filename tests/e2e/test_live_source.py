"""What the live page hears, and how: which microphone, how loud, a tab, a recording; pauses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Server
from tests.e2e.browser import IN_A_BROWSER, Open, expect
from tests.e2e.test_live_page import audio_in_summary, chromium, open_page, seconds, start, stop

__all__ = ["chromium", "open_page"]

pytestmark = IN_A_BROWSER


def choose_recording(page: Any, path: Path) -> None:
    """Start with a recording as if it were live."""
    page.locator("#source").select_option("file")
    with page.expect_file_chooser() as chooser:
        page.locator("#toggle").click()
    chooser.value.set_files(path)


WANTED = """() => {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (wanted) => {
    window.wanted = wanted.audio;
    return get(wanted);
  };
}"""


def test_a_microphone_is_chosen_and_remembered(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    expect(page.locator("#source")).to_have_value("")
    start(page)
    names = page.locator("#source option")
    page.wait_for_function("() => document.querySelectorAll('#source option').length > 3")
    assert page.locator("#source").is_disabled(), "not while it is heard"
    stop(page)
    other = names.nth(1).get_attribute("value")
    page.locator("#source").select_option(other)
    page.evaluate(WANTED)
    start(page)
    assert page.evaluate("wanted.deviceId") == other
    assert page.evaluate("wanted.autoGainControl") is False
    stop(page)
    page.reload()
    expect(page.locator("#source")).to_have_value(other)
    assert page.faults == []


@pytest.mark.parametrize(
    ("gain", "speaking", "judgment"),
    [(0.3, True, "good"), (0.003, True, "quiet"), (4.0, True, "clipped"), (0.003, False, "")],
)
def test_how_loud_is_judged_of_speech(
    live_server: Server, open_page: Open, gain: float, speaking: bool, judgment: str
) -> None:
    page = open_page(live_server.url)
    page.evaluate(
        """([gain, speaking]) => import('/static/live/level.js').then(({ Level }) => {
            const level = new Level();
            const samples = Float64Array.from({ length: 1600 }, (_, i) => gain * Math.sin(i / 5));
            const pcm = Int16Array.from(samples, (s) => Math.max(-32768, Math.min(32767, 32767 * s)));
            for (let i = 0; i < 40; i++) level.show(pcm.buffer, Math.min(1, gain * 0.7), speaking);
        })""",
        [gain, speaking],
    )
    assert (page.locator("#level").get_attribute("data-judgment") or "") == judgment


def test_a_pause_is_no_part_of_the_result(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).not_to_have_count(0)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#name")).to_have_text("Paused")
    expect(page.locator("#speech")).to_have_text("Microphone off")
    clock, listed = page.inner_text("#clock"), page.locator("#utterances li").count()
    page.wait_for_timeout(1500)
    assert page.inner_text("#clock") == clock
    page.get_by_role("button", name="Go on").click()
    page.wait_for_function("n => document.querySelectorAll('#utterances li').length > n", arg=listed)
    assert page.title().startswith("● ")
    stop(page)
    assert not page.title().startswith("● ")
    starts = [seconds(text) for text in page.locator("#heard .when").all_inner_texts()]
    assert starts == sorted(starts) and max(starts) >= seconds(clock) - 1, "one timeline, in order"
    assert audio_in_summary(page) == pytest.approx(seconds(page.locator("#clock").text_content()), abs=1.2)
    assert page.inner_text("#lost") == "0.0 s"
    assert page.faults == []


def test_stop_in_a_pause_gives_the_result(live_server: Server, open_page: Open) -> None:
    page = open_page(live_server.url)
    start(page)
    expect(page.locator("#utterances li")).not_to_have_count(0)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#name")).to_have_text("Paused")
    stop(page)
    expect(page.locator("#hero-title")).to_have_text(re.compile("^The result"))
    expect(page.locator("#chart")).to_be_visible()
    assert page.faults == []


def test_a_recording_is_heard_as_if_it_were_live(
    live_server: Server, open_page: Open, demo_samples: np.ndarray, tmp_path: Path
) -> None:
    recording = tmp_path / "six.wav"
    soundfile.write(recording, demo_samples[: 6 * 16_000], 16_000)
    page = open_page(live_server.url, mic=False)  # it needs none
    choose_recording(page, recording)
    expect(page.locator("#toggle")).to_have_text("Stop")
    expect(page.locator("#hero")).to_have_attribute("data-mode", "emotion")
    expect(page.locator("#toggle")).to_have_text("New session")  # it ends by itself
    assert audio_in_summary(page) == pytest.approx(6, abs=1)
    broken = tmp_path / "notes.wav"
    broken.write_text("no recording")
    choose_recording(page, broken)
    expect(page.locator(".notice.error")).to_contain_text("This browser cannot play that file.")
    expect(page.locator("#toggle")).to_have_text("Start listening")


TAB = """(silent) => {
  navigator.mediaDevices.getDisplayMedia = async (wanted) => {
    window.wanted = wanted.audio;
    const canvas = document.createElement("canvas");
    canvas.getContext("2d");
    const screen = canvas.captureStream(1).getVideoTracks();
    const context = new AudioContext();
    const out = context.createMediaStreamDestination();
    const tone = new OscillatorNode(context, { frequency: 300 });
    tone.connect(out);
    tone.start();
    window.shared = new MediaStream([...screen, ...(silent ? [] : out.stream.getAudioTracks())]);
    return window.shared;
  };
}"""


def test_the_sound_of_a_tab(live_server: Server, open_page: Open) -> None:
    """A tab's picture comes along; it is let go with its sound. What is shared without sound is told."""
    page = open_page(live_server.url, mic=False)
    page.locator("#source").select_option("tab")
    page.evaluate(TAB, True)
    page.locator("#toggle").click()
    expect(page.locator(".notice.error")).to_contain_text("That was shared without its sound.")
    assert page.evaluate("shared.getTracks().map((track) => track.readyState)") == ["ended"]
    page.evaluate(TAB, False)
    start(page)
    assert page.evaluate("wanted.echoCancellation") is False
    page.wait_for_function("() => document.querySelector('#level').ariaValueNow > -20")
    stop(page)
    assert page.evaluate("shared.getTracks().map((track) => track.readyState)") == ["ended", "ended"]
    assert page.faults == []
