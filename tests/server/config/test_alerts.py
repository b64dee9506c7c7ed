"""Rules and receivers as people write them: what is meant, and where a mistake is, with a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server import config
from server.alerting.judge import alert_event
from server.config import Config, ConfigError
from server.config.alerts import Alerts, RuleConfig, Webhook
from server.config.yaml_lines import line_of
from stream import rules
from stream.rules import Alert
from stream.types import LABELS
from tests.conftest import ROOT


def load(folder: Path, text: str) -> Config:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def rule(**changed: Any) -> RuleConfig:
    return RuleConfig(**{"name": "r", "when": {"any_of": "sad", "above": 0.5}, **changed})


def test_three_rules_of_the_seeds_ship_ready() -> None:
    shipped = {rule.name: rule.compiled() for rule in Alerts().rules}
    names = {name: tuple(LABELS[i] for i in rule.labels) for name, rule in shipped.items()}
    critical, low, conflict = (shipped[n] for n in ("critical", "low_engagement", "potential_conflict"))
    assert (critical.measure, names["critical"], critical.above) == (
        "any_of",
        ("angry", "fearful", "sad"),
        0.7,
    )
    assert (low.measure, names["low_engagement"], low.above, low.window) == (
        "share_of",
        ("neutral",),
        0.6,
        6000,
    )
    assert (conflict.measure, conflict.above) == ("all_of", 0.15)
    assert names["potential_conflict"] == ("angry", "disgusted", "fearful", "sad")
    assert {"both_raised", "escalation", "recovery"} <= set(shipped)


def test_what_is_left_out_has_its_default() -> None:
    compiled = rule().compiled()
    assert compiled == rules.Rule("r", "any_of", (6,), 0.5, 0.4, None, 50, 0, 6000, 6000, None)
    assert rule(window_s=20).compiled().min_speech == 500
    pair = rule(when={"both_raised": ["sad"], "above": 0.5}).compiled()
    assert (pair.window, pair.min_speech) == (400, 100), "a mood of four seconds"
    assert rule(window_s=1.26).compiled().window == 150, "on the grid"


def test_rules_about_calls_are_their_own_thresholds() -> None:
    silence = rule(when={"silence_s": 20}, message="{value} s").compiled()
    assert (silence.measure, silence.above, silence.clear_below, silence.labels) == ("silence_s", 20, 20, ())
    counted = rule(when={"interruptions": 3}, message="{value}", window_s=60, channel="agent").compiled()
    assert (counted.above, counted.window, counted.channel) == (2.5, 6000, "agent")
    for mistake, said in (
        ({"when": {"silence_s": 20, "above": 0.5}}, "leave above and below out"),
        ({"when": {"silence_s": 20}}, "write a message without {emotion}"),
        ({"when": {"silence_s": 20}, "message": "x", "window_s": 60}, "leave window_s and channel out"),
        ({"when": {"interruptions": 2}, "message": "x", "hold_s": 5}, "leave hold_s and min_speech_s out"),
        ({"when": {"interruptions": 0}, "message": "x"}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValueError, match=said):
            rule(**mistake)


def test_a_rule_of_ones_own_replaces_the_list(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "alerts:\n  rules:\n    - name: mine\n      when: {share_of: neutral, above: 0.5}\n      window_s: 5\n",
    )
    assert [rule.name for rule in loaded.alerts.rules] == ["mine"]
    assert loaded.alerts.rules[0].compiled().channel is None
    assert load(tmp_path, "alerts: {rules: []}\n").alerts.rules == ()


RULE = "alerts:\n  rules:\n    - name: a\n      when: {any_of: sad, above: 0.5}\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (RULE + "      levle: info\n", 5, ["alerts.rules.0.levle", "unknown key, did you mean level?"]),
        (RULE + "      level: crit\n", 5, ["did you mean critical?"]),
        (RULE + "      window_s: soon\n", 5, ["window_s", "'soon'"]),
        (RULE + "      hold_s: 3\n", 3, ["hold_s needs window_s"]),
        (RULE + "      message: '{nam}'\n", 5, ["there is no {nam}", "{emotion}"]),
        (RULE + "      message: '{percent:zz}'\n", 5, ["message"]),
        (RULE + "      message: '50 %}'\n", 5, ["{{ and }}"]),
        (RULE.replace("sad", "sed"), 4, ["did you mean sad?"]),
        (RULE.replace("above", "abov"), 4, ["when.abov: unknown key, did you mean above?"]),
        (RULE.replace("0.5", "1.5"), 4, ["when.above"]),
        (RULE.replace("any_of: sad", "any_of: []"), 4, ["any_of"]),
        (RULE.replace("any_of: sad, ", ""), 4, ["measures one of any_of", "it has none"]),
        (RULE.replace("any_of: sad", "any_of: sad, all_of: sad"), 4, ["any_of and all_of"]),
        (RULE.replace("0.5}", "0.5, clear_below: 0.6}"), 4, ["clear_below must not exceed above"]),
        (
            RULE.replace("above", "below").replace("0.5}", "0.5, clear_above: 0.4}"),
            4,
            ["clear_above must not"],
        ),
        (RULE.replace("0.5}", "0.5, below: 0.4}"), 4, ["give one of above and below"]),
        (RULE.replace(", above: 0.5", ""), 4, ["give one of above and below"]),
        (RULE.replace("any_of: sad", "ambiguous: any"), 4, ["leave above and below out"]),
        (RULE.replace("any_of: sad", "uncertain: any"), 4, ["leave above and below out"]),
        (RULE.replace("0.5}", "-0.5}"), 4, ["any_of is never below 0"]),
        (RULE.replace("any_of: sad, above: 0.5", "arousal: any, above: -1.5"), 4, ["when.above"]),
        (
            RULE.replace("any_of: sad, above", "both_raised: sad, below"),
            4,
            ["both_raised is about raised moods"],
        ),
        (RULE.replace("name: a", "name: normal"), 3, ["choose another name"]),
        (RULE.replace("any_of", "share_of"), 3, ["give window_s"]),
        (RULE.replace("any_of", "both_raised") + "      channel: agent\n", 3, ["leave channel out"]),
        (RULE.replace("name: a", "name: A b"), 3, ["name"]),
        (RULE + RULE.split("rules:\n")[1], 1, ["'a' is there twice"]),
        (RULE + "  webhooks:\n    - {name: w, url: 'http://x', rules: [b]}\n", 1, ["wants the rule 'b'"]),
        (RULE + "  webhooks:\n    - {name: w}\n", 6, ["webhooks.0.url", "required"]),
        (RULE + "  webhooks:\n    - {name: w, url: 'http://x', kind: wecon}\n", 6, ["did you mean wecom?"]),
        (RULE + "  webhooks:\n    - {name: w, url: 'env:NOT_THERE'}\n", 6, ["variable 'NOT_THERE'"]),
        ("alerts:\n  rules: 5\n", 2, ["alerts.rules"]),
        ("alerts:\n  rules:\n    - just text\n", 3, ["alerts.rules.0"]),
        ("server:\n  port: 1\n\nchannels:\n  right: agent\n", 4, ["left and right are both the agent"]),
        ("recording:\n  audio: true\n", 1, ["set sessions too"]),
        ("policy: {watch: custommer}\n", 1, ["did you mean customer?"]),
    ],
)
def test_a_mistake_is_told_with_its_line_and_a_hint(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(tmp_path, text)
    told = str(wrong.value)
    assert told.startswith(f"mine.yaml: line {line}: "), told
    for word in words:
        assert word in told, told


def test_rules_in_a_variable_are_json_and_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_ALERTS__RULES", '[{"name": "a", "when": {"any_of": "sad", "above": 5}}]')
    with pytest.raises(ConfigError, match=r"^EMOTION_ALERTS__RULES: alerts\.rules\.0\.when\.above"):
        config.load(None)
    monkeypatch.setenv("EMOTION_ALERTS__RULES", '[{"name"')
    with pytest.raises(ConfigError, match="JSON"):
        config.load(None)


@pytest.mark.parametrize("url", ["http://h", "https://h:8443/a?b=c", "http://[::1]:80/x"])
def test_addresses_are_taken(url: str) -> None:
    assert Webhook(name="a", url=url).url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "file:///etc/passwd",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://h/\r\nX: y",
        "http://a b",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        Webhook(name="a", url=url)


def test_secrets_come_from_the_environment_and_are_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_ROBOT", "https://h/?key=hidden")
    loaded = load(
        tmp_path, "alerts:\n  webhooks:\n    - {name: w, kind: wecom, url: 'env:MY_ROBOT', secret: hidden}\n"
    )
    assert loaded.alerts.webhooks[0].url.get_secret_value() == "https://h/?key=hidden"
    assert "hidden" not in repr(loaded) and "hidden" not in loaded.model_dump_json()
    for text in (
        "alerts:\n  webhooks: ['https://h/?key=hidden']\n",
        "alerts:\n  webhooks: https://h/?key=hidden\n",
        "alerts:\n  webhooks:\n    - {name: w, url: 'hidden://h', secrt: hidden}\n",
        'server: {token: "hid den"}\n',
    ):
        with pytest.raises(ConfigError) as wrong:
            load(tmp_path, text)
        assert "hidden" not in str(wrong.value) and "hid den" not in str(wrong.value)


def test_lines_are_those_of_the_file() -> None:
    text = "# one\na:\n  b: 1\n\n  c:\n    - x: 1\n    - y: 2\n      z: 3\n"
    found = {
        path: line_of(text, path) for path in [("a",), ("a", "b"), ("a", "c", 1, "z"), ("a", "c", 1), ("q",)]
    }
    assert found == {("a",): 2, ("a", "b"): 3, ("a", "c", 1, "z"): 8, ("a", "c", 1): 7, ("q",): None}
    assert line_of(text, ("a", "c", 5, "z")) == 5, "the last part that is there"
    assert line_of("{", ("a",)) is None


def test_the_shipped_rules_speak_in_nouns_and_in_two_languages() -> None:
    rules = {rule.name: rule for rule in config.load(ROOT / "config.yaml").alerts.rules}
    anger = Alert("critical", "raised", 100, None, LABELS.index("angry"), 0.84)
    told = alert_event(rules["critical"], anger)
    assert told.message == "Strong anger (84%)" and told.message_zh == "强烈的愤怒（84%）"
    assert all(rule.message_zh for rule in rules.values())
    calmer = alert_event(rules["recovery"], Alert("recovery", "noted", 100, "customer", 0, 1.0))
    assert calmer.message_zh == "客户已平静下来"


def test_a_field_that_does_not_exist_is_found_in_the_chinese_message_too() -> None:
    with pytest.raises(ValueError, match=r"there is no \{mood\}; a message may hold \{rule\}"):
        rule(message_zh="{mood}")
