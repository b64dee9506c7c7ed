"""The call desk in a real browser: real server, embedded model, sessions of real speech at the pace of life."""

from __future__ import annotations

import csv
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import Server
from tests.corpora import corpora
from tests.e2e.browser import (
    CHROMIUM,
    IN_A_BROWSER,
    Open,
    expect,
    give_token,
    same_in_both,
    sync_api,
    watched_page,
)
from tests.server.clients import BYTES_PER_S, Client
from tests.server.conftest import ROOMY, no_traceback, running
from tests.server.live.test_dynamics import a_call

CHUNK = 9_600  # bytes: 300 ms

# The voices of the demo recording are acted mildly: a rule that the first angry ones of them fulfill.
EAGER = json.dumps(
    [
        {
            "name": "anger",
            "level": "critical",
            "when": {"any_of": ["angry"], "above": 0.3},
            "message": "Strong anger",
            "message_zh": "强烈的愤怒",
        }
    ]
)

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(limits__max_sessions_per_connection=60, monitor__ended_ttl_s=3) as server:
        yield server
        no_traceback(server.log())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-quic"]
        )
        yield browser
        browser.close()


@pytest.fixture
def desk(browser: Any) -> Iterator[Open]:
    """Opens the desk; `faults` on the page lists exceptions and what was logged as an error."""
    contexts = []

    def desk(server: Server, path: str = "/desk", **settings: Any) -> Any:
        context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce", **settings})
        contexts.append(context)
        return watched_page(context, server.url + path)

    yield desk
    for context in contexts:
        context.close()


class Calls:
    """Sessions of one connection that speak the recording, each from another place, at the pace of life.

    `angry`: what the last of them speaks instead.
    """

    def __init__(
        self, server: Server, pcm: bytes, starts: list[dict[str, Any]], angry: bytes | None = None
    ) -> None:
        self.client, self._pcm = Client(server.url), [pcm] * (len(starts) - 1) + [angry or pcm]
        self.ids = [self.client.start(**start)["session_id"] for start in starts]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak)

    def speak_instead(self, pcm: list[bytes]) -> None:
        """Each its own."""
        self._pcm = pcm

    def __enter__(self) -> Calls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.client.close()

    def _speak(self) -> None:
        began, at = time.monotonic(), 0
        while not self._over.wait(max(0.0, began + at / BYTES_PER_S - time.monotonic())):
            for number, session_id in enumerate(self.ids):
                pcm = self._pcm[number]
                begin = (at + number * 7 * CHUNK) % (len(pcm) - CHUNK)
                self.client.send(
                    "audio_stream", {"session_id": session_id, "chunk": pcm[begin : begin + CHUNK]}
                )
            at += CHUNK


def people(n: int) -> list[dict[str, Any]]:
    queues, languages = ("Billing", "Sales"), ("de", "zh", "en")
    # Ids of our own: the desk's search looks at how they begin, and the server's may begin like a caller's number.
    return [
        {
            "session_id": f"call-{secrets.token_hex(4)}",
            "name": f"Caller {i:02}",
            "tags": {"queue": queues[i % 2], "language": languages[i % 3]},
        }
        for i in range(n)
    ]


def test_sessions_appear_are_filtered_opened_and_go(server: Server, desk: Open, demo_pcm: bytes) -> None:
    page = desk(server)
    expect(page.locator("#empty")).to_contain_text("No sessions yet")
    cards = page.locator("#cards .call:visible")
    with Calls(server, demo_pcm, people(6)) as calls:
        expect(cards).to_have_count(6)
        expect(page.locator("#count-live")).to_have_text("6")
        expect(page.locator("#empty")).to_be_hidden()
        expect(page.locator(".channel[data-emotion]")).to_have_count(6)
        expect(cards.first.locator(".share")).to_have_text(re.compile(r"^\d+% speech$"))
        page.get_by_label("Search name, tag, id").fill("caller 03")
        expect(cards).to_have_count(1)
        page.get_by_role("button", name="Clear filters").click()
        page.get_by_label("Queue").select_option("Sales")
        expect(cards).to_have_count(3)
        page.get_by_label("Language").select_option("zh")
        expect(cards).to_have_count(1)
        page.get_by_label("Search name, tag, id").fill("nobody")
        expect(page.locator("#none")).to_be_visible()
        page.get_by_role("button", name="Clear filters").click()
        expect(cards).to_have_count(6)

        page.get_by_role("link", name="Caller 02").click()
        expect(page).to_have_url(re.compile(f"#session/{calls.ids[2]}$"))
        panel = page.locator("#panel")
        expect(panel.locator("#panel-title")).to_have_text("Caller 02")
        assert page.evaluate("document.activeElement.id") == "panel-title"
        expect(panel.locator("#panel-channels .face[data-emotion]")).to_be_visible()
        expect(panel.locator(".plot canvas")).to_be_visible()
        expect(panel.locator("#panel-utterances li")).not_to_have_count(0)
        page.reload()  # the address is enough
        expect(panel.locator("#panel-title")).to_have_text("Caller 02")
        calls.client.call("stop", {"session_id": calls.ids[2]})
        expect(panel.locator("#panel-state")).to_have_text("ended")
        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()
        expect(page.locator('.call[data-state="ended"]')).to_have_count(1)
        expect(cards).to_have_count(5)  # it has lingered
    assert page.faults == []


def test_how_two_people_share_a_call(desk: Open, demo_samples: np.ndarray) -> None:
    with running(model__name="fake", monitor__ended_ttl_s=120, **ROOMY) as server:
        page, client = desk(server), Client(server.url)
        session_id = client.start(channels=2, name="A call")["session_id"]
        client.speak(a_call(demo_samples), 12_800, session_id=session_id)
        expect(page.locator(".call .channel").last.locator(".share")).to_have_text(
            re.compile(r"^\d+% speech · interrupts 1×$")
        )
        page.get_by_role("link", name="A call").click()
        expect(page.locator("#panel-interruptions")).to_have_text("0 · 1")
        told = client.stop(session_id=session_id)["dynamics"]
        agent, customer = told["by_channel"].values()
        percents = [f"{100 * each['share']:.0f}%" for each in (agent, customer)]
        expect(page.locator("#panel-talk")).to_have_text(" · ".join(percents))
        expect(page.locator("#panel-reaction")).to_have_text(f"{agent['reaction_ms'] / 1000:.1f} · – s")
        expect(page.locator("#panel-silence")).to_have_text(f"{told['longest_silence_ms'] / 1000:.1f} s")
        one = client.start(name="One voice")["session_id"]
        page.goto(f"{server.url}/desk#session/{one}")
        expect(page.locator("#panel-title")).to_have_text("One voice")
        expect(page.locator("#panel-talk")).to_be_hidden()
        assert page.faults == []
        client.close()


def test_it_speaks_chinese_fits_a_phone_and_says_when_it_is_cut_off(
    server: Server, desk: Open, demo_pcm: bytes
) -> None:
    phone = {"width": 360, "height": 740}
    with Calls(server, demo_pcm, people(1)) as calls:
        page = desk(server, viewport=phone, locale="zh-CN")
        expect(page.locator("#cards .call:visible")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        page.goto(f"{server.url}/desk#session/{calls.ids[0]}")
        expect(page.locator("#back")).to_contain_text("全部会话")
        expect(page.locator("#panel .plot canvas")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("button", name="English").click()
        expect(page.locator("#back")).to_contain_text("All sessions")
        page.context.set_offline(True)
        expect(page.locator("#notices")).to_contain_text("Not connected")
        expect(page.locator("#panel-state")).to_have_text(re.compile(r"^as of \d"))
        expect(page.locator("#panel-time")).to_be_hidden()
        expect(page.locator('#panel [data-speaking="true"]')).to_have_count(0)
        page.context.set_offline(False)
        expect(page.locator("#state")).to_have_text("Connected")
        expect(page.locator("#notices")).not_to_contain_text("Not connected")


def test_a_session_that_is_not_there_is_said_to_be_none_and_nothing_else(server: Server, desk: Open) -> None:
    page = desk(server)
    page.goto(f"{server.url}/desk#session/nosuch")
    expect(page.locator("#panel-note")).to_contain_text("There is no such session now.")
    expect(page.locator("#panel .card:visible")).to_have_count(1)
    assert page.faults == []


def test_both_languages_say_everything(server: Server, desk: Open) -> None:
    page = desk(server)
    words = page.evaluate("() => import('/static/desk/words.js').then(module => module.WORDS)")
    same_in_both(words)
    all_words = page.evaluate(
        "() => import('/static/shared/words.js').then(module => Object.keys(module.WORDS.en))"
    )
    used = page.evaluate(
        "() => [...document.querySelectorAll('[data-t]')].map(e => e.dataset.t).filter(key => key !== '{name}')"
    )
    assert set(used) <= set(all_words) | set(words["en"])


def test_cards_stay_where_they_are_until_an_alert_moves_them(server: Server, desk: Open) -> None:
    """Within its band (no alert, a warning, a critical one) trouble moves no card at once; across it, it does."""
    page = desk(server)
    moved = page.evaluate(
        """() => import('/static/desk/store.js').then(({ isMisplaced, sorted }) => {
            const session = (id, trouble) => ({ session_id: id, state: "live", trouble, startedAt: 0 });
            const [calm, angry] = [session("calm", 0.1), session("angry", 0.6)];
            const fresh = isMisplaced(calm);
            const order = sorted([calm, angry], "trouble").map((one) => one.session_id);
            calm.trouble = 0.9;
            const within = isMisplaced(calm);
            calm.trouble = 2.1;
            const across = isMisplaced(calm);
            return [fresh, order, within, across, sorted([calm, angry], "trouble")[0].session_id];
        })"""
    )
    assert moved == [True, ["angry", "calm"], False, True, "calm"]


def test_a_closed_desk_says_so_and_a_locked_one_asks(desk: Open) -> None:
    with running(model__name="fake", server__token="callers") as server:
        expect(desk(server).locator("#notices")).to_contain_text("monitor.token")
    with running(model__name="fake", monitor__token="sesame") as server:
        page = desk(server)
        give_token(page)
        expect(page.locator("#state")).to_have_text("Connected")


@pytest.mark.slow
def test_fifty_calls_one_of_which_turns_angry(desk: Open, demo_pcm: bytes) -> None:
    settings = {"limits__max_sessions_per_connection": 60, "alerts__rules": EAGER, "model__prior": "balanced"}
    with running(**settings) as server, Calls(server, demo_pcm, people(50)):
        page = desk(server, viewport={"width": 1440, "height": 1000})
        expect(page.locator("#count-live")).to_have_text("50")
        expect(page.locator("#cards .call")).to_have_count(50)
        first = page.locator("#cards .call").first
        expect(first).to_have_attribute("data-level", "critical")
        expect(first.locator(".badge")).to_contain_text("Critical")
        expect(page.locator("#announce")).to_contain_text("Strong anger")
        first.locator(".title").click()
        expect(page.locator("#panel-alerts")).to_contain_text("Strong anger")
        page.get_by_role("button", name="中文").click()
        expect(page.locator("#panel-alerts")).to_contain_text("强烈的愤怒")
        expect(first.locator(".message")).to_have_text("强烈的愤怒")
        assert page.faults == []
        no_traceback(server.log())


def spoken(emotion: str) -> bytes:
    """Clips of one emotion by EmoDB's test speakers, whom the model has not heard, with pauses; PCM16."""
    manifest = corpora() / "manifest.csv"
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "emodb" and row["split"] == "test"]
    clips = [
        soundfile.read(manifest.parent / r["path"], dtype="int16")[0] for r in rows if r["emotion"] == emotion
    ]
    pause = np.zeros(12_000, np.int16)
    return np.concatenate([part for clip in clips for part in (clip // 2, pause)]).astype("<i2").tobytes()


@pytest.mark.slow
def test_among_fifty_people_the_angry_one_stands_out(desk: Open) -> None:
    """Real voices, and the rules as they ship."""
    calm, angry = spoken("neutral"), spoken("angry")
    with running(limits__max_sessions_per_connection=60) as server, Calls(server, calm, people(50), angry):
        page = desk(server, viewport={"width": 1440, "height": 1000})
        expect(page.locator("#cards .call")).to_have_count(50)
        caller = page.locator("#cards .call", has_text="Caller 49")
        expect(caller).to_have_attribute("data-level", "critical")
        caller.locator(".title").click()
        expect(page.locator("#panel-alerts")).to_contain_text("Strong anger")
        assert page.faults == []
        no_traceback(server.log())
