"""Messages of a WeChat Work (企业微信) group robot: a template card, or markdown.

The fields and how long they may be are those of its documentation, "群机器人配置说明": a card of the kind
text_notice needs a title and a link, and shows at most six rows; markdown takes 4096 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from server.alerting.subject import Subject
from server.observers import AlertEvent
from stream.types import STEP_MS

Names = Sequence[str]  # of the nine labels

TITLE, DESCRIPTION, NUMBER, CAPTION, KEY, VALUE, ROWS = 26, 30, 10, 15, 5, 26, 6  # characters; rows
MARKDOWN_BYTES = 4096
BUSY = (-1, 45009, 45033)  # errcode: busy, or more messages than the robot may send
SHOWN = 3  # scores
_NO_MARKUP = str.maketrans("<>[]`*@", "＜＞［］ˋ＊＠")
_COLORS = {"info": "info", "warning": "warning", "critical": "warning"}
_GREY, _RED, _GREEN = 0, 2, 3  # of a card's source
_WORDS = {
    "zh": {
        "confidence": "置信度",
        "at": "时间",
        "channel": "声道",
        "over": "（已解除）",
        "file": "录音",
        "session": "会话",
        "source": "语音情绪",
    },
    "en": {
        "confidence": "score",
        "at": "at",
        "channel": "who",
        "over": " (over)",
        "file": "file",
        "source": "emotion",
        "session": "call",
    },
}
_CHANNELS_ZH = {"agent": "坐席", "customer": "客户"}


def card(alert: AlertEvent, channel: str | None, subject: Subject, language: str, names: Names) -> bytes:
    """A template card: what happened, how sure, the three highest scores, when, and a link to all of it."""
    words = _WORDS[language]
    rows = [(name, f"{percent}%") for name, percent in _highest(alert, names)]
    if language == "en":  # a name of five letters at most would be none
        rows = [(percent, name) for name, percent in rows]
    rows.append((words["at"], _clock(alert)))
    if channel is not None:
        rows.append((words["channel"], _CHANNELS_ZH.get(channel, channel) if language == "zh" else channel))
    rows += [(key, value) for key, value in subject.tags.items()]
    found = {
        "card_type": "text_notice",
        "source": {
            "desc": words["source"],
            "desc_color": _GREEN
            if alert.state == "cleared"
            else _RED
            if alert.level == "critical"
            else _GREY,
        },
        "main_title": {
            "title": _cut(_said(alert, language), TITLE),
            "desc": _cut(f"{words[subject.source]}: {subject.title}", DESCRIPTION),
        },
        "horizontal_content_list": [
            {"keyname": _cut(key, KEY), "value": _cut(value, VALUE)} for key, value in rows[:ROWS]
        ],
        "card_action": {"type": 1, "url": subject.url},
    }
    if alert.probs is not None:
        sure = f"{round(100 * float(alert.probs.max()))}%"
        found["emphasis_content"] = {"title": sure[:NUMBER], "desc": words["confidence"][:CAPTION]}
    return orjson.dumps({"msgtype": "template_card", "template_card": found})


def markdown(alert: AlertEvent, channel: str | None, subject: Subject, language: str, names: Names) -> bytes:
    """The same as text with colors."""
    words = _WORDS[language]
    facts = {
        words[subject.source]: subject.title,
        **({words["channel"]: channel} if channel is not None else {}),
        **subject.tags,
        words["at"]: _clock(alert),
    }
    lines = [f'**<font color="{_COLORS[alert.level]}">{_plain(_said(alert, language))}</font>**']
    scores = "，".join(f"{name} {percent}%" for name, percent in _highest(alert, names))
    lines += [f"> {scores}"] if scores else []
    lines += [f"> {_plain(name)}: {_plain(value)}" for name, value in facts.items()]
    lines.append(f'> <font color="comment">{alert.rule} · {alert.level}</font> [→]({subject.url})')
    text = "\n".join(lines).encode()[:MARKDOWN_BYTES].decode(errors="ignore")
    return orjson.dumps({"msgtype": "markdown", "markdown": {"content": text}})


def _said(alert: AlertEvent, language: str) -> str:
    said = alert.message if language == "en" else alert.message_zh or alert.message
    return said + _WORDS[language]["over"] if alert.state == "cleared" else said


def _highest(alert: AlertEvent, names: Names) -> list[tuple[str, int]]:
    """The labels with the highest scores, and these in percent."""
    if alert.probs is None:
        return []
    best = alert.probs.argsort()[::-1][:SHOWN]
    return [(names[i], round(100 * float(alert.probs[i]))) for i in best]


def _clock(alert: AlertEvent) -> str:
    at_s = alert.frame * STEP_MS // 1000
    return f"{at_s // 3600}:{at_s // 60 % 60:02}:{at_s % 60:02}"


def _cut(text: str, length: int) -> str:
    """At most `length` characters, of which none turns or hides what stands around it."""
    seen = "".join(c for c in text if c.isprintable()) or "-"
    return seen if len(seen) <= length else f"{seen[: length - 1]}…"


def _plain(text: str) -> str:
    """A client's words: nothing in them is markup."""
    return "".join(c for c in text if c.isprintable()).translate(_NO_MARKUP)
