"""Rules over recordings that are sent: the verdict, the alerts, and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.conftest import Server
from tests.server.clients import eventually
from tests.server.conftest import metrics, no_traceback, running
from tests.server.receivers import Receiver as Http

HERE = "/api/v1/emotion/recognize"
RULES = [
    {"name": "heard", "when": {"any_of": ["angry", "sad", "neutral", "happy"], "above": 0}, "level": "info",
     "message": "Heard {emotion}", "message_zh": "听到{emotion_zh}", "cool_down_s": 0},
    {"name": "loud", "when": {"sum_of": ["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad"],
     "above": 0.1}, "level": "critical", "message": "Loud", "message_zh": "响亮"},
    {"name": "unsure", "when": {"confidence": "any", "below": 0.999}, "level": "warning", "message": "Not sure"},
    {"name": "flat", "when": {"share_of": ["neutral", "angry", "happy", "sad"], "above": 0.01}, "window_s": 600,
     "level": "info", "message": "Flat for ten minutes"},
    {"name": "never", "when": {"any_of": "surprised", "above": 0.99}, "level": "critical"},
]  # fmt: skip


@pytest.fixture(scope="module")
def hook() -> Iterator[Http]:
    server = Http(lambda n: (200, b'{"errcode": 0}'))
    yield server
    server.close()


@pytest.fixture(scope="module")
def judging(hook: Http, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("judging")
    webhooks = [
        {"name": "all", "url": f"{hook.url}/json"},
        {"name": "team", "kind": "wecom", "url": f"{hook.url}/robot", "min_level": "critical"},
        {"name": "down", "url": "http://127.0.0.1:9/", "timeout_s": 0.2, "attempts": 1},
    ]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"alerts": {"rules": RULES, "webhooks": webhooks}}), encoding="utf-8")
    with running(config=config, files__outputs=folder / "results") as server:
        yield server
        no_traceback(server.log())


def sent(server: Server, wav: Path, name: str = "面试 1.wav", **fields: str) -> dict[str, Any]:
    with wav.open("rb") as file:
        answer = requests.post(
            server.url + HERE, files={"audio_file": (name, file)}, data=fields, timeout=120
        )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_a_recording_has_a_verdict_and_its_alerts_and_they_are_passed_on(
    judging: Server, hook: Http, demo_wav: Path, granularity: str
) -> None:
    before, posts = metrics(judging), len(hook.posts)
    said = sent(judging, demo_wav, granularity=granularity)
    assert said["verdict"] == "loud", "the worst of those that were raised"
    raised = [alert["rule"] for alert in said["alerts"] if alert["state"] == "raised"]
    assert {"heard", "loud", "unsure", "flat"} == set(raised)
    assert raised[-1] == "flat", "at the end: the recording is shorter than its window"
    kept = requests.get(judging.url + said["files"]["result"], timeout=10).json()
    assert kept["alerts"] == said["alerts"] and kept["verdict"] == "loud"
    told = eventually(lambda: hook.posts[posts:] if len(hook.posts) >= posts + 5 else None, "five posts")
    mine = [post.json for post in told if post.path == "/json"]
    assert sorted(post["rule"] for post in mine) == ["flat", "heard", "loud", "unsure"], "each once"
    for post in mine:
        assert (post["source"], post["result_id"]) == ("file", said["id"]) and "session_id" not in post
        assert post["file_name"] == "面试 1.wav" and sum(post["scores"].values()) == pytest.approx(
            1, abs=1e-3
        )
        assert post["url"].endswith(f"{judging.port}/api/v1/results/{said['id']}/result.json")
        assert post["result_url"].endswith(f"{judging.port}/result#{said['id']}")
    (card,) = (post.json["template_card"] for post in told if post.path == "/robot")
    assert card["main_title"] == {"title": "响亮", "desc": "录音: 面试 1.wav"}
    assert card["card_action"]["url"].endswith(f"{judging.port}/result#{said['id']}"), "a page, not JSON"
    after = metrics(judging)
    for rule, level in (("loud", "critical"), ("flat", "info")):
        key = f'emotion_alerts_total{{level="{level}",rule="{rule}"}}'
        assert after[key] == before.get(key, 0) + 1
    assert f"result={said['id']} rule=loud state=raised" in judging.log()


@pytest.mark.slow
def test_the_rules_that_ship_find_a_calm_recording_normal(tmp_path: Path, demo_wav: Path) -> None:
    import soundfile

    silence = tmp_path / "silence.wav"
    soundfile.write(silence, [0.0] * 32_000, 16_000)
    with running(files__outputs=tmp_path / "results") as server:
        said = sent(server, silence)
        assert (said["verdict"], said["alerts"]) == ("normal", [])
        said = sent(server, demo_wav)
        assert said["verdict"] in ("critical", "potential_conflict", "low_engagement", "normal")
        assert (said["verdict"] == "normal") == (said["alerts"] == [])
