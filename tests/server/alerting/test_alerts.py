"""Alerts end to end: a rule of the settings fires in a live session, and everybody who should hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Server, free_port
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running
from tests.server.receivers import Receiver

Connect = Callable[..., Client]

RULES = [
    {"name": "loud", "when": {"any_of": "angry", "above": 0.55, "clear_below": 0.54}, "level": "critical",
     "message": "{emotion_zh} {percent}%", "message_zh": "{channel_zh}：{feeling_zh}"},
    {"name": "sliding", "when": {"any_of": "angry", "above": 0.5}, "window_s": 2, "level": "info"},
    {"name": "theirs", "when": {"any_of": "angry", "above": 0.5}, "window_s": 2, "channel": "customer"},
    {"name": "never", "when": {"any_of": "happy", "above": 0.5}},
]  # fmt: skip


@pytest.fixture(scope="module")
def hooks() -> Iterator[dict[str, Receiver]]:
    found = {"up": Receiver(), "slow": Receiver(delay_s=60), "broken": Receiver(lambda n: (500, b""))}
    yield found
    for receiver in found.values():
        receiver.close()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def alerting(request: pytest.FixtureRequest, hooks: dict[str, Receiver]) -> Iterator[Server]:
    dead = f"http://127.0.0.1:{free_port()}/"
    targets = {name: hook.url for name, hook in hooks.items()} | {
        "dead": dead,
        "nowhere": "http://no.invalid/",
    }
    waits = {name: 1 for name in targets} | {"slow": 10}
    webhooks = [{"name": name, "url": url, "timeout_s": waits[name]} for name, url in targets.items()]
    with running(
        model__name="fake",
        server__async_mode=request.param,
        alerts__rules=json.dumps(RULES),
        alerts__webhooks=json.dumps(webhooks),
        **ROOMY,
    ) as server:
        yield server
        no_traceback(server.log())


@pytest.fixture(scope="module")
def loud(demo_samples: np.ndarray) -> bytes:
    """Eight seconds that the fake model takes for anger, since they are loud."""
    louder = np.clip(4 * demo_samples[: 8 * 16_000], -1, 1)
    return bytes(np.rint(louder * 32767).astype("<i2").tobytes())


def test_everybody_hears_of_an_alert(
    alerting: Server, connect: Connect, loud: bytes, hooks: dict[str, Receiver]
) -> None:
    client = connect(alerting)
    before = len(hooks["up"].posts)
    session_id = client.start(name="Ms Li", tags={"queue": "billing"})["session_id"]
    client.speak(loud)
    client.stop()
    alerts = client.of("alert", session_id)
    raised = [a for a in alerts if a["state"] == "raised"]
    assert {a["rule"] for a in raised} == {"loud", "sliding"}
    (first,) = [a for a in raised if a["rule"] == "loud"]
    utterance = client.of("utterance_result", session_id)[0]
    assert first["at_ms"] == utterance["end_ms"] and first["level"] == "critical"
    assert first["message"] == f"生气 {round(100 * utterance['confidence'])}%"
    assert first["message_zh"] == "来电者：愤怒"
    assert all("message_zh" not in a for a in raised if a["rule"] != "loud"), "only what the rule has"
    order = [n for n, p in client.heard if p.get("session_id") == session_id]
    assert order.index("alert") < order.index("session_summary") == len(order) - 1

    posts = [p.json for p in hooks["up"].wait(before + len(raised))]
    mine = [p for p in posts if p["session_id"] == session_id]
    assert [p["rule"] for p in mine] == [a["rule"] for a in raised]
    assert mine[0]["name"] == "Ms Li" and mine[0]["tags"] == {"queue": "billing"}

    counted = metrics(alerting)
    assert counted['emotion_alerts_total{level="critical",rule="loud"}'] >= 1
    assert counted['emotion_alerts_total{level="warning",rule="never"}'] == 0
    eventually(lambda: f"session={session_id} rule=loud state=raised" in alerting.log(), "it is in the log")
    assert first["message"] not in alerting.log(), "it holds a score"


@pytest.mark.slow
def test_receivers_that_do_not_work_are_counted_and_nobody_waits_for_them(
    alerting: Server, connect: Connect, loud: bytes, hooks: dict[str, Receiver]
) -> None:
    """Alerts are on their way to a slow, a broken, a dead and a nameless receiver while somebody speaks."""
    noisy = connect(alerting)
    for _ in range(8):
        noisy.start()
        noisy.speak(loud)
    hooks["slow"].wait(1)
    client = connect(alerting)
    client.start()
    client.speak(loud[: 6 * 32_000], cut=3_200, pace=1)
    late = [r["latency_ms"] for r in client.of("emotion_result")]
    client.stop()
    assert len(late) > 30 and np.median(late) < 5_000, "nobody has waited for a time-out of 10 s"

    def counted(target: str, result: str) -> float:
        return metrics(alerting)[f'emotion_webhooks_total{{result="{result}",target="{target}"}}']

    for target in ("slow", "broken", "dead", "nowhere"):
        eventually(lambda t=target: counted(t, "retried") >= 1, f"{target} is tried again")  # type: ignore[misc]
        assert counted(target, "sent") == 0
    assert counted("up", "sent") >= 2
    assert alerting.get("/readyz")[0] == 200


def test_a_rule_of_one_channel_hears_that_channel(alerting: Server, connect: Connect, loud: bytes) -> None:
    client = connect(alerting)
    mono = np.frombuffer(loud, "<i2")
    quiet = np.zeros_like(mono)
    for name, pair in (("agent", (mono, quiet)), ("customer", (quiet, mono))):
        session_id = client.start(channels=2)["session_id"]
        client.speak(np.stack(pair, axis=1).tobytes())
        client.stop()
        alerts = client.of("alert", session_id)
        assert {a["channel"] for a in alerts} == {name}
        wanted = {"loud", "sliding"} | ({"theirs"} if name == "customer" else set())
        assert {a["rule"] for a in alerts if a["state"] == "raised"} == wanted


@pytest.mark.slow
def test_any_cutting_gives_the_same_alerts(alerting: Server, connect: Connect, loud: bytes) -> None:
    client = connect(alerting)
    told = []
    for cut in (160_000, 3_201, 777):
        session_id = client.start()["session_id"]
        client.speak(loud, cut)
        client.stop()
        alerts = [{**a, "session_id": ""} for a in client.of("alert", session_id)]
        told.append(sorted(alerts, key=lambda a: a["rule"]))
    assert told[0] == told[1] == told[2] and told[0]


def test_a_rule_that_cannot_be_used_stops_the_server_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "alerts:\n  rules:\n    - name: a\n      when: {any_of: angri, above: 0.5}\n", encoding="utf-8"
    )
    with pytest.raises(
        RuntimeError, match=r"line 4: alerts\.rules\.0\.when\.any_of\.0: .*did you mean angry\?"
    ):
        Server(config=path)
