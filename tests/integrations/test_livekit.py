"""`livekit-plugins-emotion-stream` in sessions of the real framework, which run in an environment of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stream.types import LABELS
from tests.conftest import ROOT, Server
from tests.frameworks import check_types, run
from tests.integrations.papers import check_package, examples

INTEGRATION = ROOT / "integrations" / "livekit"
AGENT = Path(__file__).with_name("livekit_agent.py")
HEARD = re.compile(rf"\(\[emotion (?:{'|'.join(LABELS)})=0\.\d\d(?:, \w+=0\.\d\d)*\]\) line (\d)")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test installs the framework


def play(scenario: str, where: str, turn: Path, timeout_s: float = 60) -> Any:
    return run(INTEGRATION, AGENT, scenario, where, turn, timeout_s)


@pytest.mark.parametrize("where", ["server", "model"])
def test_the_llm_is_told_how_each_turn_sounded(compact: Server, turn: Path, where: str) -> None:
    told = play("conversation", compact.url if where == "server" else "model", turn)
    assert [match and match[1] for match in map(HEARD.fullmatch, told["given"])] == ["1", "2", "3"], told


@pytest.mark.parametrize("server", ["nowhere", "slow"])
def test_without_emotions_the_transcript_is_what_it_was(
    nowhere: str, slow_server: Server, turn: Path, server: str
) -> None:
    where, timeout_s = (nowhere, 60.0) if server == "nowhere" else (slow_server.url, 0.2)
    assert play("conversation", where, turn, timeout_s)["given"] == ["line 1", "line 2", "line 3"]
    events = play("streamed", where, turn, timeout_s)["events"]
    finals = [event for event in events if event["type"] == "final_transcript"]
    assert [(e["text"], e["metadata"], e["context"]) for e in finals] == [
        ("line 1", None, None),
        ("line 2", None, None),
    ]


def test_a_stream_carries_it_in_its_order_and_as_its_context(compact: Server, turn: Path) -> None:
    events = play("streamed", compact.url, turn)["events"]
    assert [event["type"] for event in events] == 2 * ["start_of_speech", "final_transcript", "end_of_speech"]
    for event in (events[1], events[4]):
        emotion = event["metadata"]["emotion"]
        assert f"{emotion['emotion']}={emotion['confidence']:.2f}" in event["text"]
        assert f"probabilities: {emotion['emotion']} {emotion['confidence']:.2f}" in event["context"]
    first, second = (event["metadata"]["emotion"] for event in (events[1], events[4]))
    assert first["end_ms"] <= second["begin_ms"] + 200 and first["frames"] > 50


def test_its_types_are_the_frameworks(tmp_path: Path) -> None:
    check_types(INTEGRATION, "livekit.plugins.emotion_stream", tmp_path)


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    """With nobody for the speech-to-text service, which needs a key of one's own."""
    stand_in = "\nfrom unittest.mock import MagicMock\nimport asyncio\n"
    program = tmp_path / "page.py"
    told = "async def main():\n    return listens(MagicMock()).timeout_s\n\nprint(asyncio.run(main()))\n"
    program.write_text("\n".join(examples(INTEGRATION)) + stand_in + told)
    assert run(INTEGRATION, program) == 0.3


def test_the_package_and_its_pages() -> None:
    check_package(INTEGRATION, "livekit.plugins.emotion_stream")
