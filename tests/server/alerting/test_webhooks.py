"""Receivers that work, are down, slow, broken, or refuse: what they are sent, how often, who does not notice."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from server.alerting import webhooks
from server.alerting.subject import Links, Subject
from server.alerting.webhooks import Receiver
from server.config import Config
from server.config.alerts import Webhook
from server.observers import AlertEvent, SessionInfo
from stream.types import LABELS
from tests.conftest import ROOT, free_port
from tests.server.clients import eventually
from tests.server.receivers import Receiver as Http
from tests.server.receivers import Trickle

SCORES = np.array([0.82, 0, 0.1, 0, 0.05, 0, 0.03, 0, 0], np.float32)
ALERT = AlertEvent("critical", "critical", "raised", 6100, "Strong anger (82%)", None, SCORES)
SESSION = SessionInfo("s1", "2026-01-02T03:04:05.000+00:00", 0.0, "张三 <b>", {"queue": "a_[b](c)"})
LINKS = Links(Config(server={"public_url": "https://emotion.example.com/"}))
SUBJECT = LINKS.of_session(SESSION)
Http_ = Callable[..., Http]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_S", 0.02)


@pytest.fixture
def http() -> Iterator[Http_]:
    servers: list[Http] = []

    def one(*args: Any, **kwargs: Any) -> Http:
        servers.append(Http(*args, **kwargs))
        return servers[-1]

    yield one
    for server in servers:
        server.close()


class Sending:
    """A receiver of ours that sends to `url`, and what it counted."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.results: Counter[str] = Counter()
        hook = Webhook(name="r", url=url, **{"timeout_s": 0.3, **settings})
        self._receiver = Receiver(hook, lambda result: self.results.update([result]))
        self._receiver.start()

    def offer(self, subject: Subject = SUBJECT, **changed: Any) -> None:
        self._receiver.offer(replace(ALERT, **changed), "customer", subject)

    def ends(self, **results: int) -> None:
        eventually(lambda: self.results == Counter(results), f"{results}, not {self.results}")


def test_an_alert_arrives_as_it_is_with_who_it_is_about(http: Http_) -> None:
    server = http()
    sending = Sending(server.url + "/in?k=1")
    sending.offer()
    (post,) = server.wait()
    assert post.path == "/in?k=1" and post.headers["Content-Type"].startswith("application/json")
    scores = dict(zip(LABELS, [0.82, 0, 0.1, 0, 0.05, 0, 0.03, 0, 0], strict=True))
    said = post.json
    assert said.pop("scores") == pytest.approx(scores)
    assert said == {
        "event": "alert",
        "rule": "critical",
        "level": "critical",
        "state": "raised",
        "at_ms": 61_000,
        "message": "Strong anger (82%)",
        "channel": "customer",
        "source": "session",
        "session_id": "s1",
        "name": "张三 <b>",
        "tags": {"queue": "a_[b](c)"},
        "started_utc": SESSION.started_utc,
        "url": "https://emotion.example.com/desk#session/s1",
    }
    assert "X-Emotion-Signature" not in post.headers, "there is no secret"
    sending.ends(sent=1)


def test_the_signature_verifies_with_the_code_of_the_documentation(http: Http_) -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?def verify.*?)```", page, re.S)
    space: dict[str, Any] = {}
    exec(snippet, space)
    verify = space["verify"]
    server = http()
    sending = Sending(server.url, secret="s3cret")
    sending.offer()
    (post,) = server.wait()
    assert verify("s3cret", post.headers, post.body)
    assert not verify("other", post.headers, post.body)
    assert not verify("s3cret", post.headers, post.body + b" ")
    late = {**post.headers, "X-Emotion-Timestamp": str(int(time.time()) - 3600)}
    assert not verify("s3cret", late, post.body)
    assert not verify("s3cret", {}, post.body)


def test_a_receiver_that_answers_500_is_tried_again_in_growing_steps_with_one_delivery_id(
    http: Http_,
) -> None:
    server = http(lambda n: (500 if n < 3 else 200, b""))
    sending = Sending(server.url, secret="x")
    sending.offer()
    posts = server.wait(4)
    sending.ends(retried=3, sent=1)
    assert len({post.headers["X-Emotion-Delivery"] for post in posts}) == 1
    assert len({post.body for post in posts}) == 1


def test_trying_is_bounded_and_the_next_alert_has_its_turn(http: Http_) -> None:
    server = http(lambda n: (503 if n < 3 else 204, b""))
    sending = Sending(server.url, attempts=3)
    sending.offer()
    sending.offer(rule="next")
    server.wait(4)
    sending.ends(retried=2, gave_up=1, sent=1)
    assert [post.json["rule"] for post in server.posts] == ["critical"] * 3 + ["next"]


def test_what_is_too_old_is_given_up() -> None:
    sending = Sending(f"http://127.0.0.1:{free_port()}", attempts=20, max_age_s=0.2)
    sending.offer()
    eventually(lambda: sending.results["gave_up"] == 1, "it is given up")
    assert sending.results["retried"] >= 2


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302])
def test_a_refusal_is_final(http: Http_, status: int) -> None:
    server = http(lambda n: (status, b""))
    sending = Sending(server.url)
    sending.offer()
    sending.ends(refused=1)
    assert len(server.posts) == 1, "redirects are not followed"


def test_a_slow_receiver_costs_its_timeout_and_no_other_receiver_waits(http: Http_) -> None:
    slow, quick = http(delay_s=60), http()
    slowly, quickly = Sending(slow.url, timeout_s=40), Sending(quick.url)
    for _ in range(20):
        slowly.offer()
        quickly.offer()
    quickly.ends(sent=20)
    assert not slowly.results, "neither offering nor the other receiver has waited for one time-out of 40 s"
    slowly = Sending(slow.url, attempts=2)
    slowly.offer()
    slowly.ends(retried=1, gave_up=1)


def test_too_many_waiting_are_dropped_oldest_first(monkeypatch: pytest.MonkeyPatch, http: Http_) -> None:
    monkeypatch.setattr(webhooks, "QUEUE", 5)
    server = http(delay_s=0.1)
    sending = Sending(server.url, timeout_s=5)
    sending.offer()
    server.wait(1)
    for number in range(12):
        sending.offer(frame=number)
    server.wait(6)
    sending.ends(sent=6, dropped=7)
    assert [post.json["at_ms"] for post in server.posts][1:] == [70, 80, 90, 100, 110]


@pytest.mark.parametrize("wish", ["\xb2", "-5", "1e9", "9" * 400, "nan", "Wed, 99 Foo", "soon", ""])
def test_no_retry_after_ends_the_thread(http: Http_, wish: str) -> None:
    """ "²" is a digit to Python and no number: its thread died of it, and nobody counted."""
    server = http(lambda n: (503, b"", {"Retry-After": wish}) if n == 0 else (200, b"{}"))
    sending = Sending(server.url)
    sending.offer()
    sending.ends(retried=1, sent=1)
    sending.offer()
    sending.ends(retried=1, sent=2)


def test_retry_after_holds_seconds_or_a_date_within_bounds() -> None:
    read = webhooks.retry_after_s
    now_s = 1_800_000_000.0
    assert read("7", now_s) == 7 and read(" 0 ", now_s) == 0
    assert read("Fri, 15 Jan 2027 08:00:20 GMT", now_s) == 20
    assert read("Fri, 15 Jan 2027 07:00:00 GMT", now_s) == 0, "a moment that has passed"
    assert read("86400", now_s) == read("Fri, 15 Jan 2038 08:00:00 GMT", now_s) == webhooks.LONGEST_PAUSE_S
    assert read("٣", now_s) == read("1.5", now_s) == read(None, now_s) == 0


def test_the_time_for_a_try_is_total_however_the_answer_drips() -> None:
    server = Trickle()
    sending = Sending(server.url, attempts=2, timeout_s=0.4)
    began = time.monotonic()
    sending.offer()
    sending.ends(retried=1, gave_up=1)
    assert time.monotonic() - began >= 0.8 and server.taken == 2
    server.close()


def test_a_fault_of_ours_is_counted_and_the_next_alert_has_its_turn(
    http: Http_, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = http(lambda n: (503 if n == 0 else 200, b""))
    sending = Sending(server.url)
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_S", None)  # as a mistake in computing the pause would
    sending.offer()
    sending.ends(retried=1, failed=1)
    sending.offer()
    sending.ends(retried=1, failed=1, sent=1)
    assert "TypeError" in caplog.text


def test_receivers_choose_rules_levels_and_ends(http: Http_) -> None:
    server = http()
    sending = Sending(server.url, rules=("a",), min_level="warning")
    sending.offer(rule="b")
    sending.offer(rule="a", level="info")
    sending.offer(rule="a", state="cleared")
    sending.offer(rule="a", level="warning")
    server.wait(1)
    assert [post.json["level"] for post in server.posts] == ["warning"]
    both = Sending(server.url, cleared=True)
    both.offer(state="cleared")
    assert server.wait(2)[1].json["state"] == "cleared"


OK = (200, b'{"errcode": 0, "errmsg": "ok"}')


def robot_takes(body: bytes) -> bytes:
    """What a group robot answers, by the limits of its documentation (群机器人配置说明)."""

    def wrong(code: int, why: str) -> bytes:
        return orjson.dumps({"errcode": code, "errmsg": why})

    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return wrong(40058, "not JSON")
    if said.get("msgtype") == "markdown":
        text = said["markdown"]["content"].encode()
        return OK[1] if 0 < len(text) <= 4096 else wrong(40058, "markdown.content exceed max length 4096")
    if said.get("msgtype") != "template_card":
        return wrong(40008, "invalid message type")
    card = said["template_card"]
    if card.get("card_type") != "text_notice":
        return wrong(42045, "template_card.card_type invalid")
    action, rows = card.get("card_action", {}), card.get("horizontal_content_list", [])
    if action.get("type") != 1 or not re.match(r"https?://\S+$", action.get("url", "")):
        return wrong(42045, "template_card.card_action missing")
    title, emphasis = card.get("main_title", {}), card.get("emphasis_content", {})
    lengths = [
        (title.get("title", ""), 26),
        (title.get("desc", ""), 30),
        (emphasis.get("title", ""), 10),
        (emphasis.get("desc", ""), 15),
        (card.get("source", {}).get("desc", ""), 13),
        *((row["keyname"], 5) for row in rows),
        *((row["value"], 26) for row in rows),
    ]
    if not title.get("title") or len(rows) > 6 or any(len(text) > most for text, most in lengths):
        return wrong(42045, "template_card: too long, or no title")
    if any(not row["keyname"] or not row["value"] for row in rows):
        return wrong(42045, "template_card.horizontal_content_list: empty")
    known = {
        "card_type",
        "source",
        "main_title",
        "emphasis_content",
        "horizontal_content_list",
        "card_action",
    }
    return (
        OK[1]
        if card.keys() <= known and card["source"]["desc_color"] in range(4)
        else wrong(42045, "unknown")
    )


def robot(http: Http_) -> Http:
    made: list[Http] = []

    def answer(number: int) -> tuple[int, bytes]:
        return 200, robot_takes(made[0].posts[number].body)

    made.append(http(answer))
    return made[0]


LONG = LINKS.of_session(
    replace(SESSION, name="很长的名字\u202e🎧" * 30, tags={f"k{i}": "v" * 64 for i in range(8)})
)


def test_a_wechat_work_robot_gets_a_card(http: Http_) -> None:
    server = robot(http)
    sending = Sending(server.url + "/cgi-bin/webhook/send?key=k", kind="wecom", secret="unused")
    sending.offer(message_zh="强烈的愤怒（82%）")
    (post,) = server.wait()
    card = post.json["template_card"]
    assert card["main_title"] == {"title": "强烈的愤怒（82%）", "desc": "会话: 张三 <b>"}
    assert card["emphasis_content"] == {"title": "82%", "desc": "置信度"}
    rows = [(row["keyname"], row["value"]) for row in card["horizontal_content_list"]]
    assert rows[:3] == [("生气", "82%"), ("恐惧", "10%"), ("中立", "5%")]
    assert rows[3:] == [("时间", "0:01:01"), ("声道", "客户"), ("queue", "a_[b](c)")]
    assert card["card_action"] == {"type": 1, "url": "https://emotion.example.com/desk#session/s1"}
    assert "X-Emotion-Signature" not in post.headers
    sending.ends(sent=1)


@pytest.mark.parametrize("format", ["card", "markdown"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_robot_takes_whatever_people_are_called_and_say(http: Http_, format: str, language: str) -> None:
    """Nothing is refused for its length, an empty row, or what cannot be seen."""
    server = robot(http)
    sending = Sending(server.url, kind="wecom", format=format, language=language, cleared=True)
    file = LINKS.of_file("outputs_20260101_000000_0123456789abcdef", "录音" * 60 + ".wav", 3.0)
    sending.offer(LONG, message="Anger 😠" * 40, message_zh="愤怒😠" * 80)
    sending.offer(LONG, state="cleared", probs=None)
    sending.offer(file, level="info")
    sending.offer(LINKS.of_session(replace(SESSION, name="", tags={"x": ""})))
    sending.ends(sent=4)
    bodies = [post.body.decode() for post in server.posts]
    assert all("\u202e" not in body for body in bodies)
    if format == "markdown":
        assert "录音" in bodies[2] and ("中立 5%" if language == "zh" else "neutral 5%") in bodies[2]


def test_in_markdown_nobodys_words_are_markup(http: Http_) -> None:
    server = robot(http)
    sending = Sending(server.url, kind="wecom", format="markdown")
    sending.offer(message_zh="强烈的愤怒（82%）")
    (post,) = server.wait()
    text = post.json["markdown"]["content"]
    assert (
        '<font color="warning">强烈的愤怒（82%）</font>' in text and "0:01:01" in text and "customer" in text
    )
    assert "<b>" not in text and "[b]" not in text
    sending.ends(sent=1)


def test_a_robot_that_answers_200_and_means_no_is_heard(http: Http_) -> None:
    replies = [b'{"errcode": -1}', OK[1], b'{"errcode": 93000, "errmsg": "invalid webhook url"}', b"<html>"]
    server = http(lambda n: (200, replies[n]))
    sending = Sending(server.url, kind="wecom")
    for _ in range(3):
        sending.offer()
    sending.ends(retried=1, sent=1, refused=2)


def test_neither_url_nor_secret_is_ever_logged(http: Http_, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server = http(lambda n: (404, b""))
    for url in (server.url + "/hidden-key", f"http://127.0.0.1:{free_port()}/hidden-key"):
        sending = Sending(url, secret="s3cret", attempts=2)
        sending.offer()
        eventually(lambda s=sending: s.results["refused"] + s.results["gave_up"], "it is over")  # type: ignore[misc]
    eventually(lambda: "was not delivered" in caplog.text, "the operator is told")
    assert "hidden-key" not in caplog.text and "s3cret" not in caplog.text
    assert "s3cret" not in repr(Webhook(name="a", url="http://x", secret="s3cret"))


def test_a_configured_file_keeps_secrets_out_of_its_errors(tmp_path: Path) -> None:
    from server import config

    path = tmp_path / "mine.yaml"
    path.write_text("alerts:\n  webhooks:\n    - {name: a, url: 'ftp://hidden-key'}\n", encoding="utf-8")
    with pytest.raises(config.ConfigError) as wrong:
        config.load(path)
    assert "mine.yaml: line 3" in str(wrong.value) and "hidden-key" not in str(wrong.value)


def test_json_is_what_it_says() -> None:
    told = orjson.loads(
        webhooks.json_body(replace(ALERT, probs=None), None, LINKS.of_file("outputs_1", "a.wav", 3.5))
    )
    assert told["rule"] == "critical" and "scores" not in told and "channel" not in told
    assert (told["source"], told["result_id"], told["file_name"]) == ("file", "outputs_1", "a.wav")
    assert told["url"] == "https://emotion.example.com/api/v1/results/outputs_1/result.json"
    assert told["result_url"] == "https://emotion.example.com/result#outputs_1"
