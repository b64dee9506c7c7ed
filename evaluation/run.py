"""`./run.sh evaluate`: labeled recordings → what the product says of them → report, figures and pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from evaluation import dataset, output, record, results, terminal
from evaluation.about import About, fingerprint
from evaluation.conditions import CONDITIONS
from evaluation.listen import Heard, listen
from evaluation.source import Source
from server import wire
from server.config import Config, ConfigError
from server.local_engine import local_model
from server.paths import HOME
from stream.rules import CROSSINGS, Rule
from stream.session import StreamConfig
from stream.types import EMOTIONS, LABELS, EmotionModel


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    data: Path
    split: str | None = None
    corpora: tuple[str, ...] = ()
    limit: int | None = None
    conditions: tuple[str, ...] = CONDITIONS
    noise_db: float = 10.0
    times: tuple[str, ...] = ("0.5", "1", "2")  # seconds, as given: they name columns
    seed: int = 0
    out: Path | None = None  # None: outputs/evaluation_…


def main(request: Request, config: Config, as_json: bool) -> int:
    """Evaluate; the exit status: 0, 1 when clips could not be read, 2 when nothing could start."""
    errors = Console(stderr=True)
    began = time.monotonic()

    def tell(text: str) -> None:
        errors.print(text, markup=False, highlight=False, soft_wrap=True)

    try:
        check(request)
        data = dataset.read(request.data, request.split, request.corpora, request.limit, request.seed)
        model = local_model(config)
        stream = config.stream_config(model.spec)
        out = request.out or HOME / "outputs" / f"evaluation_{datetime.now():%Y%m%d_%H%M%S}"
        out.mkdir(parents=True, exist_ok=True)
    except (dataset.BadDataset, ConfigError, ValueError, OSError) as wrong:
        tell(str(wrong))
        return 2
    source = Source(data.clips, request.conditions, request.noise_db, request.seed, stream.gate)
    answers = _hear(source, request, model, stream, config.engine.max_batch, of_emotions(config), errors)
    for i, why in source.unreadable.items():
        tell(f"not read: {data.clips[i].name}: {why}")
    read = [clip for i, clip in enumerate(data.clips) if i not in source.unreadable]
    if not read:
        tell("None of the clips could be read.")
        return 2
    found = results.judge(read, data.labels, answers, request.seed)
    about = _about(request, config, data, source, model, time.monotonic() - began)
    output.write(found, about, out)
    if as_json:
        print(wire.Json.dumps(record.to_json(found, about)))
    else:
        for table in terminal.summary(found, about):
            Console().print(table)
    tell(f"Written: {out / 'report.md'}")
    return 1 if source.unreadable else 0


def check(request: Request) -> None:
    """Raise ValueError for what cannot be asked for."""
    strange = [name for name in request.conditions if name not in CONDITIONS]
    if strange or not request.conditions:
        told = ", ".join(strange) or "none given"
        raise ValueError(f"--conditions: {told}; there are: {', '.join(CONDITIONS)}")
    for text in request.times:
        try:
            good = 0 < float(text) <= 3600
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"--live: {text!r}: give seconds after speech began, as in 0.5,1,2")


def of_emotions(config: Config) -> list[Rule]:
    """The rules that tell of an emotion in one voice."""
    rules = [rule.compiled() for rule in config.alerts.rules]
    return [rule for rule in rules if rule.measure not in CROSSINGS and set(rule.labels) <= set(EMOTIONS)]


def _hear(
    source: Source,
    request: Request,
    model: EmotionModel,
    stream: StreamConfig,
    max_batch: int,
    rules: Sequence[Rule],
    errors: Console,
) -> dict[tuple[str, str], results.Readings]:
    """What was said of the clips that could be read, by condition and time."""
    n = len(request.conditions)
    heard: dict[int, Heard] = {}
    with terminal.bar(errors) as progress:
        task = progress.add_task(f"{model.spec.name} listens", total=n * len(source.clips))
        times_s = [float(text) for text in request.times]
        for key, one in listen(source, model, stream, times_s, max_batch, rules):
            heard[key] = one
            progress.update(task, completed=len(heard) + n * len(source.unreadable))
    if not heard:
        return {}
    return {
        (condition, when): said
        for at, condition in enumerate(request.conditions)
        for when, said in results.gather(
            [heard[key] for key in sorted(heard) if key % n == at], request.times
        ).items()
    }


def _about(
    request: Request,
    config: Config,
    data: dataset.Dataset,
    source: Source,
    model: EmotionModel,
    took_s: float,
) -> About:
    spec, speech = model.spec, config.speech
    return About(
        model=spec.name,
        weights=fingerprint(config.model.name),
        device=spec.device,
        dtype=spec.dtype,
        prior=spec.prior,
        rules=tuple(rule.name for rule in of_emotions(config)),
        cannot_say=tuple(label for label in LABELS if label not in spec.supported_labels),
        dataset=data.path.parent.name if data.path.name == dataset.MANIFEST else data.path.name,
        split=data.split,
        limit=request.limit,
        conditions=request.conditions,
        times=request.times,
        noise_db=request.noise_db,
        seed=request.seed,
        date=f"{datetime.now():%Y-%m-%d %H:%M}",
        took_s=round(took_s, 1),
        audio_s=round(source.audio_s, 1),
        gate=f"Speech gate: aggressiveness {speech.aggressiveness}, onset {speech.onset_ms} ms, "
        f"hang-over {speech.hangover_ms} ms.",
        unreadable=tuple((data.clips[i].name, why) for i, why in source.unreadable.items()),
    )
