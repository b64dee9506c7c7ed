"""One page of HTML about a folder: complete in itself, without scripts, light or dark as its reader prefers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from server.language import Language, in_language
from stream.types import LABELS
from tools import pictures
from tools import trend as trends
from tools.folder import Folder, Record
from tools.items import Broken
from tools.trend import By, When
from tools.words import emotion_name, t

TEMPLATE = Path(__file__).with_name("report.html.j2")
Say = Callable[..., str]  # the text of a key
MOST_ROWS = 2000  # a page with more is slow to open, and nobody reads it


def page(
    folder: Folder,
    by: By | None = None,
    zone: tzinfo | None = None,
    when: When = "scored",
    title: str | None = None,
    language: Language = "en",
) -> str:
    """The page. `by` None: hours for up to three days, else days. Raises pictures.Missing."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    say = partial(t, language)
    records = folder.records
    spoken = [record for record in records if record.speech]
    found = trends.trend(records, by or _suitable(records, when), zone, when, language)
    drawn = (
        pictures.svg(trends.draw(found), "trend", language) if len(found.bins) > 1 else ""
    )  # one bin is no trend
    silent = len(records) - len(spoken)
    latest = sorted(records, key=lambda one: (_at(one, when) or one.scored, one.name), reverse=True)[
        :MOST_ROWS
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        t=say,
        language="zh-CN" if language == "zh" else "en",
        title=title or say("title", name=folder.path.resolve().name),
        theme=Markup(pictures.THEME.read_text(encoding="utf-8")),  # noqa: S704 - a file of ours
        made=f"{datetime.now().astimezone(zone):%Y-%m-%d %H:%M %Z}",
        models=folder.models,
        tiles=_tiles(records, spoken, say),
        shares=_shares(spoken),
        silent=silent,
        taught=_taught(records),
        trend=Markup(drawn),  # noqa: S704 - matplotlib's SVG, which escapes what it writes
        untimed=found.untimed,
        when=say("when", when=say(when), zone=found.zone) if found.bins else say(when),
        rows=[_row(record, when, zone, say) for record in latest],
        more=len(records) - len(latest),
        broken=[Broken(one.name, in_language(one.why, language)) for one in folder.broken],
    )


def _suitable(records: Sequence[Record], when: When) -> By:
    times = [at for record in records if (at := _at(record, when)) is not None]
    return "hour" if times and max(times) - min(times) < timedelta(days=3) else "day"


def _at(record: Record, when: When) -> datetime | None:
    return record.scored if when == "scored" else record.recorded


def _tiles(records: Sequence[Record], spoken: Sequence[Record], say: Say) -> list[tuple[str, str]]:
    utterances = [record.utterances for record in records if record.utterances is not None]
    sure = [record.confidence for record in spoken]
    return [
        (say("recordings"), f"{len(records):,}"),
        (say("with_speech"), f"{len(spoken):,}"),
        (say("audio"), _length(sum(record.duration_s for record in records), say)),
        (say("utterances"), f"{sum(utterances):,}" if utterances else "–"),
        (say("mean_confidence"), f"{sum(sure) / len(sure):.0%}" if sure else "–"),
    ]


def _shares(spoken: Sequence[Record]) -> list[dict[str, Any]]:
    counts = Counter(record.emotion for record in spoken)
    found = []
    for label in LABELS:
        if n := counts[label]:
            share = n / len(spoken)
            told = {"percent": f"{100 * share:.2f}", "shown": f"{share:.0%}" if share >= 0.005 else "<1%"}
            found.append({"label": label, "zh": emotion_name("zh", label), "count": n, **told})
    return found


def _taught(records: Sequence[Record]) -> list[tuple[str, str, int]]:
    counts = Counter((str(r.taught.get("name", "")), str(r.taught["label"])) for r in records if r.taught)
    return [(name, label, n) for (name, label), n in sorted(counts.items())]


def _row(record: Record, when: When, zone: tzinfo | None, say: Say) -> dict[str, Any]:
    at = _at(record, when)
    return {
        "name": record.name,
        "speech": record.speech,
        "emotion": record.emotion,
        "zh": emotion_name("zh", record.emotion),
        "taught": record.taught["label"] if record.taught else "",
        "confidence": f"{record.confidence:.0%}" if record.speech else "–",
        "length": _length(record.duration_s, say),
        "utterances": "–" if record.utterances is None else record.utterances,
        "at": f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else "–",
    }


def _length(seconds: float, say: Say) -> str:
    if seconds < 60:
        return say("s", n=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("min", n=f"{minutes}:{rest:02}")
    return say("h", n=f"{minutes // 60}:{minutes % 60:02}:{rest:02}")
