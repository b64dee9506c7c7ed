"""Rules about calls of two: raised and cleared at the half second that it becomes so."""

from __future__ import annotations

from stream.conversation_rules import ConversationRules
from stream.dynamics import Conversation, Share
from stream.rules import Alert, Rule

PEOPLE = ("agent", "customer")


def rule(measure: str, threshold: float, **more: int | str | None) -> Rule:
    return Rule("r", measure, (), threshold, threshold, cool_down=0, **more)  # type: ignore[arg-type]


def state(at: int, silence: int = 0, agent: int = 0, customer: int = 0) -> Conversation:
    shares = {"agent": Share(interruptions=agent), "customer": Share(interruptions=customer)}
    return Conversation(at, shares, 0, 0, silence, silence)


def told(alerts: list[Alert]) -> list[tuple[str, int, str | None, float]]:
    return [(alert.state, alert.frame, alert.channel, alert.value) for alert in alerts]


def test_a_silence_is_told_when_it_is_longer_and_when_it_is_over() -> None:
    rules = ConversationRules([rule("silence_s", 20.0)], PEOPLE)
    found = [alert for at in range(50, 3001, 50) for alert in rules.judge(state(at, silence=at))]
    found += rules.judge(state(3050))
    assert told(found) == [("raised", 2050, None, 20.5), ("cleared", 3050, None, 0.0)]


def test_interruptions_are_those_of_one_within_the_window() -> None:
    rules = ConversationRules([rule("interruptions", 1.5, window=1000)], PEOPLE)
    assert rules.judge(state(100, agent=1, customer=1)) == [], "one each"
    assert rules.judge(state(1150, agent=2)) == [], "the first was too long ago"
    assert told(rules.judge(state(1200, agent=3))) == [("raised", 1200, "agent", 2)]
    assert rules.judge(state(2100, agent=3)) == []
    assert told(rules.judge(state(2150, agent=3))) == [("cleared", 2150, "agent", 1)]


def test_without_a_window_they_are_those_of_the_call_and_of_whom_the_rule_is_about() -> None:
    rules = ConversationRules([rule("interruptions", 1.5, channel="agent")], PEOPLE)
    assert rules.judge(state(50, customer=5)) == []
    assert rules.judge(state(500_000, agent=1, customer=5)) == []
    assert told(rules.judge(state(900_000, agent=2, customer=5))) == [("raised", 900_000, "agent", 2)]
    assert rules.judge(state(1_900_000, agent=2, customer=5)) == []
