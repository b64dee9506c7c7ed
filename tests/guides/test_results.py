"""What code does with results that was written for other servers: reads, decides, tells a WeChat Work robot."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from stream.types import LABELS
from tests.conftest import Server, no_traceback
from tests.server.alerting.test_webhooks import robot_takes
from tests.server.receivers import Receiver

HERE = "/api/v1/emotion/recognize"


@pytest.fixture(scope="module")
def outputs(shared: Server, demo_wav: Path) -> list[Path]:
    """Where the results of three recordings are, one of them at granularity frame."""
    before, folders = len(shared.log()), []
    for granularity in ("utterance", "utterance", "frame"):
        with demo_wav.open("rb") as f:
            answer = requests.post(
                f"{shared.url}{HERE}",
                files={"audio_file": f},
                data={"granularity": granularity},
                timeout=60,
            )
        assert answer.status_code == 200
        folders.append(Path(answer.json()["result_dir"]))
    no_traceback(shared.log()[before:])
    return folders


def judged(path: Path) -> str:
    """A verdict by rules of one's own."""
    result = json.loads(path.read_text(encoding="utf-8"))
    scores = result["scores"]
    if result["emotion"] in ("angry", "fearful", "sad") and result["confidence"] > 0.7:
        return "CRITICAL_ALERT"
    if scores["neutral"] > 0.6:
        return "LOW_ENGAGEMENT"
    if all(scores[name] > 0.15 for name in ("angry", "disgusted", "fearful", "sad")):
        return "POTENTIAL_CONFLICT"
    return "NORMAL"


def test_results_are_judged_and_put_into_a_table(outputs: list[Path], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for folder in outputs:
        path = folder / "result.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        if "emotion" not in result:  # frames have no one emotion
            assert set(result["frame_emotions"]) <= set(LABELS)
            assert len(result["frame_scores"]) == len(result["frame_confidences"])
            continue
        assert judged(path) in (
            "CRITICAL_ALERT",
            "LOW_ENGAGEMENT",
            "POTENTIAL_CONFLICT",
            "NORMAL",
        )
        assert result["verdict"] in ("critical", "low_engagement", "potential_conflict", "normal")
        scores = {f"score_{name}": value for name, value in result["scores"].items()}
        rows.append({"name": result["file_name"], "emotion": result["emotion"], **scores})
    assert len(rows) == 2 and {row["name"] for row in rows} == {"conversation.wav"}
    with (tmp_path / "table.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert (tmp_path / "table.csv").stat().st_size > 100


def test_a_wechat_work_robot_is_told(outputs: list[Path]) -> None:
    result = json.loads((outputs[0] / "result.json").read_text(encoding="utf-8"))
    card = {
        "msgtype": "template_card",
        "template_card": {
            "card_type": "text_notice",
            "source": {"desc": "语音情感", "desc_color": 2},
            "main_title": {"title": f"情绪：{result['emotion']}", "desc": result["timestamp"]},
            "emphasis_content": {"title": f"{result['confidence']:.1%}", "desc": "置信度"},
            "horizontal_content_list": [
                {"keyname": name, "value": f"{result['scores'][label]:.1%}"}
                for name, label in (("愤怒", "angry"), ("快乐", "happy"), ("中性", "neutral"))
            ],
            "card_action": {"type": 1, "url": "http://localhost:7860"},
        },
    }
    robot = Receiver()
    try:
        assert requests.post(f"{robot.url}/cgi-bin/webhook/send?key=k", json=card, timeout=10).ok
        assert json.loads(robot_takes(robot.posts[0].body))["errcode"] == 0
    finally:
        robot.close()
