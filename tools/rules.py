"""`./run.sh tools rules`: what the rules of config.yaml would have told of what was recorded.

Recorded sessions and results hold the scores: rules are judged on them again as they are in a live session.
Recordings are scored first. Of a session's record the figures are those of half seconds, rounded on the way to the
disk; so an alert that hangs on the sixth digit may differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from server import wire
from server.alerting.judge import alert_event
from server.config.alerts import RuleConfig
from server.files.result import RESULT
from server.records.session_record import RECORD
from stream.rules import CROSSINGS, TALK, Alert, RuleEngine
from stream.types import LABELS, LABELS_ZH, N_LABELS, Floats, JsonDict, UtteranceScored

Channels = tuple[str | None, ...]
Score = Callable[[Path], "Facts"]


class Unusable(ValueError):
    """A file that holds nothing to judge; the text says why."""


@dataclass
class Facts:
    """What was recorded of one session, in its order."""

    channels: Channels
    length: int = 0  # frames
    file: bool = False  # a recording that is over, not a session
    notes: list[str] = field(default_factory=list)
    # (where it is judged, order among those, channel, what): what happened before is judged before
    items: list[tuple[int, int, str | None, UtteranceScored | tuple[int, Floats]]] = field(
        default_factory=list
    )
    summed: bool = False  # stretches hold sums (2 * N_LABELS,), not frames (n, N_LABELS)

    def utterance(self, channel: str | None, start: int, end: int, n_scored: int, probs: Floats) -> None:
        self.items.append((end, 0, channel, UtteranceScored(start, end, n_scored, probs)))

    def stretch(self, channel: str | None, first: int, values: Floats) -> None:
        self.items.append((first, 1, channel, (first, values)))


@dataclass(frozen=True)
class Verdict:
    """Alerts in order, and the furthest that each rule measured (None: it had nothing to measure)."""

    alerts: tuple[JsonDict, ...]
    peaks: dict[str, float | None]
    notes: tuple[str, ...]


def judge(facts: Facts, rules: Sequence[RuleConfig], labels_zh: Sequence[str] = LABELS_ZH) -> Verdict:
    """The rules over one session; `labels_zh`: what the nine labels are called in Chinese."""
    named = {rule.name: rule for rule in rules}
    at_work = RuleEngine([rule.compiled() for rule in rules], facts.channels)
    told: list[Alert] = []
    for _, _, channel, what in sorted(facts.items, key=lambda item: item[:2]):
        if isinstance(what, UtteranceScored):
            told += at_work.utterance(channel, what)
        elif facts.summed:
            told += at_work.sums(channel, what[0], what[1].astype(np.float64))
        else:
            told += at_work.frames(channel, *what)
    for channel in facts.channels:
        told += at_work.advance(channel, facts.length)
    if facts.file:
        told += at_work.finish(facts.length)
    told.sort(key=lambda alert: alert.frame)
    events = tuple(
        wire.to_wire("", alert.channel, alert_event(named[alert.rule], alert, labels_zh), "")[1]
        for alert in told
    )
    return Verdict(events, at_work.peaks(), tuple([*facts.notes, *_unable(facts, rules)]))


def _unable(facts: Facts, rules: Sequence[RuleConfig]) -> Iterator[str]:
    if len(facts.channels) == 1 and (names := [r.name for r in rules if r.when.measure in CROSSINGS]):
        yield f"not tried, for there is one channel: {', '.join(names)}"
    if names := [r.name for r in rules if r.when.measure in TALK]:
        yield f"not tried, for it is about who speaks when, live: {', '.join(names)}"
    if facts.channels == (None,) and (names := [r.name for r in rules if r.channel != "any"]):
        yield f"not tried, for nobody knows whose voice it is: {', '.join(names)}"


def read(path: Path, score: Score) -> Facts:
    """Of a session's record, a result, or a folder that holds one; any other file is a recording to `score`.

    Raises Unusable, OSError, ValueError.
    """
    if path.is_dir():
        for name in (RECORD, RESULT):
            if (path / name).is_file():
                path = path / name
                break
        else:
            raise Unusable(f"holds neither {RECORD} nor {RESULT}")
    if path.suffix.lower() != ".json":
        return score(path)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as wrong:
        raise Unusable(f"not JSON: {wrong}") from None
    try:
        if "timeline" in said:
            return _of_record(said)
        if "utterances" in said:
            return of_result(said)
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise Unusable(f"not as it was written here: {type(wrong).__name__} {wrong}") from None
    raise Unusable("neither a session's record nor a result")


def _of_record(said: JsonDict) -> Facts:
    here = sorted(
        {row["channel"] for kind in ("timeline", "utterances") for row in said[kind] if "channel" in row}
    )
    channels: Channels = (None,)
    if said["channels"] == 2:
        watch = said.get("watch", "both")
        channels = ("agent", "customer") if watch == "both" else (watch,)
    if not set(here) <= set(channels):
        raise ValueError(f"channels {here}")
    facts = Facts(channels, summed=True)
    for row in said["timeline"]:
        n = row["frames"]
        counts = [row["by_label"].get(label, 0) for label in LABELS]
        sums = np.concatenate([n * _row(row["scores"]), counts]).astype(np.float32)
        facts.stretch(row.get("channel"), _frame(row["start_ms"]), sums)
        facts.length = max(facts.length, _frame(row["end_ms"]))
    _add_utterances(facts, said, said.get("lost", []))
    facts.length = max(facts.length, _frame(said.get("audio_ms", 0)))
    return facts


def of_result(said: JsonDict) -> Facts:
    """Of result.json, with frames where it has them: stretches without a gap, none across an utterance's end."""
    facts = Facts((None,), file=True)
    if "frame_scores" in said:
        rows = np.asarray(said["frame_scores"], np.float32).reshape(-1, N_LABELS)
        starts = np.asarray(said["frame_start_ms"], np.int64) // wire.STEP_MS
        ends = [_frame(u["end_ms"]) for u in said["utterances"]]
        breaks = np.union1d(np.flatnonzero(np.diff(starts) != 1) + 1, np.flatnonzero(np.isin(starts, ends)))
        for part, first in zip(np.split(rows, breaks), np.split(starts, breaks), strict=True):
            if len(part):
                facts.stretch(None, int(first[0]), part)
                facts.length = int(first[-1]) + 1
    else:
        facts.notes.append(
            "holds no frames: rules with window_s could not be tried (use --granularity frame)"
        )
    _add_utterances(facts, said, [])
    facts.length = max(facts.length, round(100 * said.get("duration_s", 0)))
    return facts


def _add_utterances(facts: Facts, said: JsonDict, lost: list[JsonDict]) -> None:
    for u in said["utterances"]:
        start, end, channel = u["start_ms"], u["end_ms"], u.get("channel")
        gone = sum(
            max(0, min(end, loss["end_ms"]) - max(start, loss["start_ms"]))
            for loss in lost
            if loss.get("channel") == channel
        )
        n_scored = _frame(end - start - gone)
        facts.utterance(channel, _frame(start), _frame(end), n_scored, _row(u["scores"]))
        facts.length = max(facts.length, _frame(end))


def _row(scores: dict[str, Any]) -> Floats:
    return np.array([scores[label] for label in LABELS], np.float32)


def _frame(ms: int) -> int:
    return int(ms) // wire.STEP_MS


def clock(ms: int) -> str:
    """1:02:03.4"""
    tenths = ms // 100
    seconds, tenths = divmod(tenths, 10)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{tenths}"
