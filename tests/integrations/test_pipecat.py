"""`pipecat-emotion-stream` in pipelines of the real framework, which run in an environment of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stream.types import LABELS
from tests.conftest import ROOT, Server
from tests.frameworks import check_types, run
from tests.integrations.papers import check_package, examples

INTEGRATION = ROOT / "integrations" / "pipecat"
AGENT = Path(__file__).with_name("pipecat_agent.py")
HEARD = re.compile(rf"\(\[emotion (?:{'|'.join(LABELS)})=0\.\d\d(?:, \w+=0\.\d\d)*\]\) line (\d)")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test installs the framework


def play(scenario: str, where: str, turn: Path, timeout_s: float = 60) -> Any:
    return run(INTEGRATION, AGENT, scenario, where, turn, timeout_s)


@pytest.mark.parametrize("where", ["server", "model"])
def test_the_llm_is_told_how_each_turn_sounded(compact: Server, turn: Path, where: str) -> None:
    told = play("conversation", compact.url if where == "server" else "model", turn)
    said = [message["content"] for message in told["given"] if message["role"] == "user"]
    numbers = [match[1] for text in said if (match := HEARD.fullmatch(text))]
    assert numbers == ["1", "2", "3"], said
    assert [text for text, _ in told["transcripts"]] == said and told["all_passed"]
    for (text, emotion), after in zip(
        told["transcripts"], [*told["transcripts"][1:], ["", None]], strict=True
    ):
        assert f"{emotion['emotion']}={emotion['confidence']:.2f}" in text
        assert 0 < 10 * emotion["frames"] <= emotion["end_ms"] - emotion["begin_ms"]
        assert after[1] is None or emotion["end_ms"] <= after[1]["begin_ms"]


@pytest.mark.parametrize("server", ["nowhere", "slow"])
def test_without_emotions_the_transcript_is_what_it_was(
    nowhere: str, slow_server: Server, turn: Path, server: str
) -> None:
    where, timeout_s = (nowhere, 60.0) if server == "nowhere" else (slow_server.url, 0.2)
    told = play("conversation", where, turn, timeout_s)
    said = [message["content"] for message in told["given"] if message["role"] == "user"]
    assert said == ["line 1", "line 2", "line 3"] and told["all_passed"]
    assert told["transcripts"] == [[f"line {n}", None] for n in (1, 2, 3)]


def test_nothing_but_transcripts_waits_and_an_interruption_drops_none(
    slow_server: Server, turn: Path
) -> None:
    told = play("kept_waiting", slow_server.url, turn, 1.0)
    assert told["transcripts"] == [["line 1", None], ["once more", None]]
    order = [name for name in told["order"] if name != "OutputTransportMessageUrgentFrame"]
    interrupted = order.index("InterruptionFrame")
    assert order.index("VADUserStoppedSpeakingFrame") < interrupted < order.index("TranscriptionFrame")
    assert order[interrupted + 1] == "InputAudioRawFrame", "audio does not wait"


def test_of_several_users_one_is_heard(compact: Server, turn: Path) -> None:
    told = play("of_two_users", compact.url, turn, 1.0)
    assert told["transcripts"] == [["line 1", None], ["not me", None]] and told["all_passed"]


def test_its_types_are_the_frameworks(tmp_path: Path) -> None:
    check_types(INTEGRATION, "pipecat_emotion_stream", tmp_path)


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    """With nobody for the services, which need keys of one's own."""
    stand_ins = "\nfrom unittest.mock import MagicMock\nchain = parts(*(MagicMock() for _ in range(5)))\n"
    program = tmp_path / "page.py"
    program.write_text("\n".join(examples(INTEGRATION)) + stand_ins + "print(chain.index(emotion))\n")
    assert run(INTEGRATION, program) == 2


def test_the_package_and_its_pages() -> None:
    check_package(INTEGRATION, "pipecat_emotion_stream")
