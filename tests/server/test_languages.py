"""A server that speaks Chinese by default, and English to those who ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from server.alerting.judge import alert_event
from server.config import Config
from server.config.alerts import RuleConfig
from stream.rules import Alert
from stream.types import LABEL_SETS_ZH, LABELS
from tests.conftest import Server
from tests.server.clients import Client
from tests.server.conftest import running

PATH = "/api/v1/emotion/recognize"
ENGLISH = {"Accept-Language": "en-US,en;q=0.9"}
NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    outputs = tmp_path_factory.mktemp("outputs")
    with running(
        model__name="fake", files__outputs=outputs, server__language="zh", server__labels_zh="common"
    ) as server:
        yield server
        assert "no such result" not in server.log() and "没有" not in server.log()  # the log speaks English


def message(server: Server, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> str:
    answer = requests.request(method, server.url + path, headers=headers, timeout=30)
    text: str = answer.json()["error"]["message"]
    return text


def test_errors_of_rest_follow_the_wish_then_the_header_then_the_setting(chinese: Server) -> None:
    gone = "/api/v1/results/outputs_1/result.json"
    assert message(chinese, gone) == "没有这个结果；结果只保留一段时间"
    assert message(chinese, gone, headers=ENGLISH) == "no such result; results are kept for a limited time"
    assert message(chinese, gone + "?lang=zh", headers=ENGLISH) == "没有这个结果；结果只保留一段时间"
    assert message(chinese, "/api/v1/stat") == "这里没有 '/api/v1/stat'；您要找的是 '/api/v1/status' 吗？"
    assert message(chinese, "/upload/x", "POST").endswith(f"；录音请发送到 POST {PATH}")
    assert message(chinese, PATH, "POST") == "请以 multipart/form-data 发送，录音放在字段 'audio_file' 中"
    assert message(chinese, "/", headers={"Host": "evil.example"}).startswith(
        "'evil.example' 不是本服务器的主机名"
    )


def test_steps_and_errors_of_files_are_told_in_the_readers_language(chinese: Server, demo_wav: Path) -> None:
    def sent(data: bytes, **headers: str) -> requests.Response:
        return requests.post(chinese.url + PATH, files={"audio_file": data}, headers=headers, timeout=120)

    said = sent(demo_wav.read_bytes()).json()
    details = {step["step"]: step["detail"] for step in said["steps"]}
    assert details["receive"] == f"{demo_wav.stat().st_size} 字节"
    assert details["resample"].endswith("转为 16000 Hz，单声道") and details["decode"].endswith("1 个声道")
    assert "秒语音，共" in details["detect_speech"] and "个窗口共" in details["score"]
    lines = sent(demo_wav.read_bytes(), **NDJSON).text
    assert "字节" in lines and "个窗口共" in lines
    english = sent(demo_wav.read_bytes(), **ENGLISH).json()
    assert english["steps"][0]["detail"].endswith(" bytes")
    whole = sent(demo_wav.read_bytes()[:-20_000]).json()["error"]["message"]
    assert whole.startswith("录音已损坏：文件头声明了") and "缺少其中" in whole
    assert "没有语音" not in whole
    broken = sent(b"no recording", **NDJSON).text
    assert "不支持的文件格式；请发送 WAV" in broken


def test_a_socket_speaks_as_its_handshake_and_its_start_ask(chinese: Server) -> None:
    clients = [Client(chinese.url), Client(chinese.url, headers=ENGLISH)]
    try:
        told = [client.call("flush", {})["error"]["message"] for client in clients]
        assert told[0] == "还没有会话；请先发送 start 或 audio_stream"
        assert told[1] == "there is no session; send start or audio_stream first"
        assert clients[1].call("start", {"language": "zh-CN"})["ok"]
        for client in clients:
            refused = client.call("audio_stream", {"chunk": "?", "seq": 0})
            assert refused["error"]["code"] == "BAD_AUDIO"
            assert refused["error"]["message"].startswith("'chunk' 不是 base64")
            assert client.wait_for("error")["message"] == told[clients.index(client)]
        unknown = clients[0].call("start", {"language": "tlh"})["error"]
        assert (unknown["code"], unknown["message"]) == ("BAD_REQUEST", "'language' 必须是其中之一：en, zh")
    finally:
        for client in clients:
            client.close()


def test_one_setting_names_the_labels(chinese: Server) -> None:
    names = ["愤怒", "厌恶", "恐惧", "快乐", "中性", "其他", "悲伤", "惊讶", "未知"]
    assert requests.get(chinese.url + "/api/v1/status", timeout=30).json()["labels_zh"] == names
    assert list(LABEL_SETS_ZH["common"]) == names and Config().server.names_zh == LABEL_SETS_ZH["emotion2vec"]
    desk = Client(chinese.url, namespace="/monitor")
    try:
        assert desk.call("subscribe")["labels_zh"] == names
    finally:
        desk.close()
    rule = RuleConfig(
        name="low", when={"any_of": ["neutral"], "above": 0.5}, message_zh="{emotion_zh} {percent}%"
    )
    happened = Alert("low", "raised", 100, None, LABELS.index("neutral"), 0.75)
    assert alert_event(rule, happened).message_zh == "中立 75%"
    assert alert_event(rule, happened, LABEL_SETS_ZH["common"]).message_zh == "中性 75%"
