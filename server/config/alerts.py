"""The settings of alerts: rules as people write them, and where alerts are sent. Checked once, at start."""

from __future__ import annotations

import os
import re
import string
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from server.observers import Level
from server.tenants import DEFAULT
from stream import rules
from stream.types import FRAMES_PER_S, LABELS
from stream.windowed_sums import GRID

Label = Literal["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown"]
Labels = Annotated[
    tuple[Label, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    Field(min_length=1),
]
MESSAGE_FIELDS = (
    "rule",
    "emotion",
    "emotion_zh",
    "feeling",
    "feeling_zh",
    "percent",
    "value",
    "channel",
    "channel_zh",
)
OF_SCORES = ("emotion", "emotion_zh", "feeling", "feeling_zh", "percent")
NORMAL = "normal"  # the verdict on a recording of which no rule tells anything
MEASURES = (
    *("any_of", "all_of", "sum_of", "share_of"),
    *(*rules.OF_THE_LIKELIEST, *rules.CROSSINGS, *rules.TALK),
)


class _Written(BaseModel):
    """Says only what was written: a list of rules should read as it does in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}


LabelsOrAny = Annotated[
    tuple[Label, ...],
    BeforeValidator(
        lambda given: LABELS if given == "any" else (given,) if isinstance(given, str) else given
    ),
    Field(min_length=1),
]


class When(_Written):
    """One measure, of these labels, and its thresholds: `above` or `below`, and where it is over again."""

    any_of: Labels | None = None  # the highest of these scores
    all_of: Labels | None = None  # the lowest: every one of them is above
    sum_of: Labels | None = None  # these scores together
    share_of: Labels | None = None  # the share of frames whose likeliest label is one of these
    confidence: LabelsOrAny | None = (
        None  # the highest of all scores, where it is one of these labels'; or any
    )
    ambiguous: LabelsOrAny | None = None  # 1 where the first label hardly leads the second, else 0; or any
    uncertain: LabelsOrAny | None = None  # 1 where the likeliest label is less sure than 0.5, else 0; or any
    arousal: LabelsOrAny | None = (
        None  # -1 (calm) to 1 (excited), where the likeliest is one of these; or any
    )
    valence: LabelsOrAny | None = None  # -1 (unpleasant) to 1 (pleasant)
    both_raised: Labels | None = None  # of two channels: both are, going by the sum of these scores
    escalation: Labels | None = None  # one rises from calm while the other is calm
    recovery: Labels | None = None  # one is calm again
    silence_s: float | None = Field(None, gt=0, le=3600)  # of a call of two: nobody has spoken for longer
    interruptions: int | None = Field(None, ge=1, le=1000)  # one has interrupted the other so often
    # Arousal and valence may be below 0; there the defaults are 0.1 away, elsewhere
    above: float | None = Field(None, ge=-1, lt=1)
    clear_below: float | None = Field(None, gt=-1, lt=1)  # four fifths of `above`
    below: float | None = Field(None, gt=-1, le=1)
    clear_above: float | None = Field(None, gt=-1, lt=1)  # five fourths of `below`

    @model_validator(mode="after")
    def _one_measure(self) -> When:
        given = [name for name in MEASURES if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"it has {' and '.join(given)}" if given else "it has none"
            raise ValueError(f"a rule measures one of {', '.join(MEASURES)}; {said}")
        thresholds = (self.above, self.clear_below, self.below, self.clear_above)
        if self.measure in rules.FLAGS:
            if any(threshold is not None for threshold in thresholds):
                raise ValueError(f"{self.measure} is so or not: leave above and below out")
            return self
        if self.measure in rules.TALK:
            if any(threshold is not None for threshold in thresholds):
                raise ValueError(f"{self.measure} is a threshold itself: leave above and below out")
            return self
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below: from where on somebody is told")
        if self.measure not in rules.AFFECT:
            others = (self.clear_below, self.below, self.clear_above)
            if (self.above or 0) < 0 or any(x is not None and x <= 0 for x in others):
                raise ValueError(f"{self.measure} is never below 0: give thresholds from 0 to 1")
        if self.below is not None and self.measure in rules.CROSSINGS:
            raise ValueError(f"{self.measure} is about raised moods: give above")
        if self.clear_below is not None and (self.above is None or self.clear_below > self.above):
            raise ValueError("clear_below must not exceed above, or the alert is cleared as soon as raised")
        if self.clear_above is not None and (self.below is None or self.clear_above < self.below):
            raise ValueError("clear_above must not be under below, or the alert is cleared as soon as raised")
        return self

    @property
    def thresholds(self) -> tuple[float, float]:
        """Where it is raised and where it is cleared, by `above` or by `below`."""
        if self.measure in rules.FLAGS:
            return 0.5, 0.5
        if self.silence_s is not None:
            return self.silence_s, self.silence_s
        if self.interruptions is not None:
            return self.interruptions - 0.5, self.interruptions - 0.5
        if self.measure in rules.AFFECT:
            if self.below is not None:
                return self.below, self.below + 0.1 if self.clear_above is None else self.clear_above
            above = self.above or 0.0
            return above, above - 0.1 if self.clear_below is None else self.clear_below
        if self.below is not None:
            return self.below, min(1.0, 1.25 * self.below) if self.clear_above is None else self.clear_above
        above = self.above or 0.0
        return above, 0.8 * above if self.clear_below is None else self.clear_below

    @property
    def measure(self) -> str:
        return next(name for name in MEASURES if getattr(self, name) is not None)


class RuleConfig(_Written):
    """When to tell, whom it is about, and in which words."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    when: When
    # Seconds of the session that are measured together; null: each utterance. Of crossing rules: seconds of
    # somebody's own speech that make their mood.
    window_s: float | None = Field(None, ge=1, le=600)
    min_speech_s: float | None = Field(None, ge=0, le=600)  # default: 0.5, or a quarter of the window
    hold_s: float = Field(0, ge=0, le=600)  # it must last for so long
    cool_down_s: float = Field(60, ge=0, le=86_400)  # not raised again for so long, per session and channel
    forget_s: float = Field(60, ge=1, le=86_400)  # cleared after so long without anything to measure
    channel: Literal["any", "agent", "customer"] = "any"
    level: Level = "warning"
    message: str = Field("{emotion} {percent}%", max_length=300)
    message_zh: str | None = Field(None, max_length=300)  # the same in Chinese; null: there is none

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name == NORMAL:
            raise ValueError(f"{NORMAL} is the verdict where no rule was raised; choose another name")
        return name

    @field_validator("message", "message_zh")
    @classmethod
    def _fields_exist(cls, message: str | None) -> str | None:
        if message is None:
            return None
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(message) if name is not None]
        except ValueError as wrong:
            doubled = "{{ and }}"
            raise ValueError(f"{wrong}; write {doubled} for braces that are meant as such") from None
        if unknown := [name for name in fields if name not in MESSAGE_FIELDS]:
            known = ", ".join(f"{{{name}}}" for name in MESSAGE_FIELDS)
            place = f"{{{unknown[0]}}}"
            raise ValueError(f"there is no {place}; a message may hold {known}")
        try:
            message.format(**dict.fromkeys(MESSAGE_FIELDS, "x") | {"percent": 50})
        except (ValueError, KeyError, IndexError, AttributeError) as wrong:
            raise ValueError(f"a field of the message is not written as it should be: {wrong}") from None
        return message

    @model_validator(mode="after")
    def _measurable(self) -> RuleConfig:
        measure = self.when.measure
        if measure == "share_of" and self.window_s is None:
            raise ValueError("share_of counts frames over a time: give window_s")
        if measure in rules.FLAGS and self.window_s is not None:
            raise ValueError(f"{measure} is said of utterances: leave window_s out")
        if measure in rules.TALK:
            self._about_a_call(measure)
        if self.hold_s and self.window_s is None and measure not in rules.CROSSINGS:
            raise ValueError("an utterance does not last: hold_s needs window_s")
        if measure == "both_raised" and self.channel != "any":
            raise ValueError("both_raised is about both channels: leave channel out")
        return self

    def _about_a_call(self, measure: str) -> None:
        if self.hold_s or self.min_speech_s is not None:
            raise ValueError(f"{measure} is not about scores: leave hold_s and min_speech_s out")
        if measure == "silence_s" and (self.window_s is not None or self.channel != "any"):
            raise ValueError("silence_s is about both channels at once: leave window_s and channel out")
        for message in (self.message, self.message_zh or ""):
            if of_scores := [name for name in OF_SCORES if f"{{{name}" in message]:
                place = f"{{{of_scores[0]}}}"
                raise ValueError(f"{measure} measures no scores: write a message without {place}")

    def compiled(self) -> rules.Rule:
        """As `stream.rules` takes it."""
        when, measure = self.when, self.when.measure
        crossing = measure in rules.CROSSINGS
        window_s = 4.0 if crossing and self.window_s is None else self.window_s
        min_speech_s = self.min_speech_s
        if min_speech_s is None:
            min_speech_s = 0.5 if window_s is None else window_s / 4
        return rules.Rule(
            name=self.name,
            measure=measure,  # type: ignore[arg-type]  # one of MEASURES, which are those
            labels=() if measure in rules.TALK else tuple(map(LABELS.index, getattr(when, measure))),
            above=when.thresholds[0],
            clear_below=when.thresholds[1],
            below=when.below is not None,
            window=None if window_s is None else _on_grid(window_s),
            min_speech=round(min_speech_s * FRAMES_PER_S),
            hold=round(self.hold_s * FRAMES_PER_S),
            cool_down=round(self.cool_down_s * FRAMES_PER_S),
            forget=round(self.forget_s * FRAMES_PER_S),
            channel=None if self.channel == "any" else self.channel,
        )


def _on_grid(seconds: float) -> int:
    return max(1, round(seconds * FRAMES_PER_S / GRID)) * GRID


def _from_environment(given: object) -> object:
    """`env:NAME` stands for that variable: what is secret need not be in the file."""
    if isinstance(given, str) and given.startswith("env:"):
        name = given.removeprefix("env:")
        if name not in os.environ:
            raise ValueError(f"there is no environment variable {name!r}")
        return os.environ[name]
    return given


Secret = Annotated[SecretStr, BeforeValidator(_from_environment)]


WebhookEvent = Literal["alert", "utterance", "turn", "summary"]


class Webhook(_Written):
    """A receiver of alerts, of results, or of both."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    url: Secret  # http or https; secret, since a robot's holds its key
    kind: Literal["json", "wecom"] = "json"  # signed JSON, or a WeChat Work (企业微信) robot
    format: Literal["card", "markdown"] = "card"  # of a robot's messages
    language: Literal["zh", "en"] = "zh"  # of a robot's messages
    secret: Secret = SecretStr("")  # signs what is sent
    tenant: str = Field(DEFAULT, pattern=r"^([a-z0-9][a-z0-9-]{0,31}|\*)$")  # whose alerts; "*": everybody's
    # What it is told of. The others than alerts are results of live sessions, as JSON.
    events: tuple[WebhookEvent, ...] = Field(("alert",), min_length=1)
    min_level: Level = "info"
    rules: tuple[str, ...] = ()  # only these; empty: all
    cleared: bool = False  # tell also when an alert is over
    timeout_s: float = Field(5, gt=0, le=60)
    attempts: int = Field(6, ge=1, le=20)
    max_age_s: float = Field(300, gt=0, le=86_400)  # what is not delivered by then is given up

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right or re.search(r"[\s\x00-\x1f\x7f]", url.get_secret_value()):
            raise ValueError("not an address that begins with http:// or https:// and names a host")
        return url

    @model_validator(mode="after")
    def _readable(self) -> Webhook:
        if self.kind == "wecom" and set(self.events) != {"alert"}:
            raise ValueError("a robot is told of alerts alone; results go to a webhook of the kind json")
        return self


NEGATIVE = ["angry", "disgusted", "fearful", "sad"]
READY: list[dict[str, Any]] = [
    {
        "name": "critical",
        "when": {"any_of": ["angry", "fearful", "sad"], "above": 0.7},
        "level": "critical",
        "message": "Strong {feeling} ({percent}%)",
        "message_zh": "强烈的{feeling_zh}（{percent}%）",
    },
    {
        "name": "low_engagement",
        "when": {"share_of": ["neutral"], "above": 0.6, "clear_below": 0.5},
        "window_s": 60,
        "cool_down_s": 1800,
        "level": "info",
        "message": "Little engagement: {percent}% of the speech is neutral",
        "message_zh": "参与度低：{percent}% 的语音为{emotion_zh}",
    },
    {
        "name": "potential_conflict",
        "when": {"all_of": NEGATIVE, "above": 0.15},
        "level": "warning",
        "message": "Possible conflict: anger, disgust, fear and sadness together",
        "message_zh": "可能有冲突：愤怒、厌恶、恐惧与悲伤同时出现",
    },
    {
        "name": "both_raised",
        "when": {"both_raised": NEGATIVE, "above": 0.6, "clear_below": 0.4},
        "level": "critical",
        "message": "Both are upset",
        "message_zh": "双方情绪都很激动",
    },
    {
        "name": "escalation",
        "when": {"escalation": NEGATIVE, "above": 0.6, "clear_below": 0.4},
        "level": "warning",
        "message": "The {channel} escalates while the other stays calm",
        "message_zh": "{channel_zh}情绪升级，另一方保持平静",
    },
    {
        "name": "recovery",
        "when": {"recovery": NEGATIVE, "above": 0.6, "clear_below": 0.4},
        "hold_s": 10,
        "level": "info",
        "message": "The {channel} has calmed down",
        "message_zh": "{channel_zh}已平静下来",
    },
]


class Alerts(BaseModel):
    """When somebody is told, and where alerts are sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[RuleConfig, ...] = Field(tuple(RuleConfig(**rule) for rule in READY), max_length=100)
    webhooks: tuple[Webhook, ...] = Field((), max_length=20)

    @model_validator(mode="after")
    def _names_agree(self) -> Alerts:
        names = [rule.name for rule in self.rules]
        receivers = [hook.name for hook in self.webhooks]
        for twice in sorted({n for some in (names, receivers) for n in some if some.count(n) > 1}):
            raise ValueError(f"the name {twice!r} is there twice")
        for hook in self.webhooks:
            if strange := [name for name in hook.rules if name not in names]:
                raise ValueError(f"webhook {hook.name!r} wants the rule {strange[0]!r}, which does not exist")
        return self
