"""What a real Chromium's MediaRecorder sends is scored as the same recording is, read by FFmpeg, as a WAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Server
from tests.e2e.browser import CHROMIUM, IN_A_BROWSER, QUIET, sync_api
from tests.server import ledger
from tests.server.clients import Client
from tests.server.decoding.recorded import decoded
from tests.server.live.test_containers import SAME, say
from tests.server.live.test_scores import streamed

pytestmark = IN_A_BROWSER

SECONDS = 6
RECORD = """async ([seconds, slice, mime]) => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream, mime ? { mimeType: mime } : {});
  const pieces = [];
  let before = Promise.resolve();
  recorder.ondataavailable = ({ data }) => {
    before = before.then(async () => pieces.push(Array.from(new Uint8Array(await data.arrayBuffer()))));
  };
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start(slice);
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  recorder.stop();
  await stopped;
  await before;
  for (const track of stream.getTracks()) track.stop();
  return { mime: recorder.mimeType, pieces };
}"""


@pytest.fixture(scope="module")
def page(demo_wav: Path, live_server: Server) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *QUIET,
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={demo_wav}",
            ],
        )
        page = browser.new_page()
        page.goto(live_server.url)
        yield page
        browser.close()


@pytest.mark.parametrize("mime", ["", "audio/webm;codecs=opus", "audio/mp4"])
def test_a_recording_sent_piece_by_piece_scores_as_its_wav(live_server: Server, page: Any, mime: str) -> None:
    if mime and not page.evaluate("mime => MediaRecorder.isTypeSupported(mime)", mime):
        pytest.skip(f"this Chromium records no {mime}")
    recording = page.evaluate(RECORD, [SECONDS, 100, mime])
    pieces = [bytes(piece) for piece in recording["pieces"]]
    assert len(pieces) > 10
    whole = b"".join(pieces)
    wanted = streamed(
        Client(live_server.url), decoded(whole).astype("<f4").tobytes(), 9600, encoding="pcm_f32le"
    )
    client = Client(live_server.url)
    session = client.start()["session_id"]
    for piece in pieces:
        assert client.call("audio_stream", {"chunk": piece})["ok"]
    summary = client.stop()
    found = ledger.of_client(client.heard, session)
    found.balance()
    assert not client.of("error") and summary["speech_ms"] > 1000
    assert found.speech == wanted.speech
    assert np.abs(found.rows() - wanted.rows()).max() < SAME


def test_what_lacks_its_beginning_is_never_scored(live_server: Server, page: Any) -> None:
    """A client whose session is gone has to begin its recording anew; wherever its recorder had cut."""
    for mime in ("audio/webm;codecs=opus", "audio/mp4"):
        pieces = [bytes(piece) for piece in page.evaluate(RECORD, [2, 100, mime])["pieces"]]
        for first in range(1, len(pieces) - 3):
            client = Client(live_server.url)
            session = client.start()["session_id"]
            codes = say(client, b"".join(pieces[first:]), longest=2000, session_id=session)
            assert client.stop()["audio_ms"] == 0
            assert codes | {error["code"] for error in client.of("error", session)} == {"BAD_AUDIO"}
            client.close()
