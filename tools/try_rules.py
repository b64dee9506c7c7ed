"""The command `./run.sh tools rules`: reads, scores what has to be scored, prints."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
import soundfile

from server.config import Config
from server.errors import ClientError
from server.files import decode, find
from server.files.result import RESULT
from server.language import Language
from server.records.session_record import RECORD
from stream.codec import Resampler
from stream.offline import run
from stream.types import EmotionModel, Floats, FramesScored, UtteranceScored
from tools.rules import Facts, Unusable, Verdict, clock, judge, read


def main(
    paths: Sequence[Path], config: Config, channels: int, as_json: bool, language: Language = "en"
) -> int:
    """Print what the rules tell of each. `language`: of alerts' messages.

    The exit status: 0, 1 when one could not be read, 2 when none could.
    """
    if not config.alerts.rules:
        print("There are no rules: alerts.rules in config.yaml is empty.", file=sys.stderr)
        return 2
    failed = done = 0
    score = Scorer(config, channels)
    below = {rule.name for rule in config.alerts.rules if rule.when.below is not None}
    for path in itertools.chain.from_iterable(map(_expanded, paths)):
        try:
            verdict = judge(read(path, score), config.alerts.rules, config.names_zh)
        except (Unusable, OSError, ValueError, ImportError, ClientError, soundfile.SoundFileError) as wrong:
            why = getattr(wrong, "strerror", None) or wrong
            print(f"{path}: {why}", file=sys.stderr)
            failed += 1
            continue
        _print(path, verdict, below, as_json, language)
        done += 1
    if not failed:
        return 0
    return 1 if done else 2


def _expanded(path: Path) -> list[Path]:
    """A folder of results stands for these; one of recordings for those; any other path for itself."""
    if not path.is_dir():
        return [path]
    kept = sorted(found.parent for name in (RECORD, RESULT) for found in path.rglob(name))
    heard = [found for found in find.find([path]) if found.parent not in kept]
    return [*kept, *heard] or [path]


class Scorer:
    """Scores recordings as a live session does, with a model that is loaded when the first one comes."""

    def __init__(self, config: Config, channels: int) -> None:
        self._config, self._channels = config, channels

    def __call__(self, path: Path) -> Facts:
        if self._channels == 1:
            facts = Facts((None,), file=True)
            self._hear(facts, None, _mixed(path, self._config))
            return facts
        names = (self._config.channels.left, self._config.channels.right)
        facts = Facts(names, file=True)
        for number, name in enumerate(names):
            self._hear(facts, name, _channel(path, number))
        return facts

    @cached_property
    def _model(self) -> EmotionModel:
        from server.local_engine import local_model

        print(f"scoring with {self._config.model.name} …", file=sys.stderr)
        return local_model(self._config)

    def _hear(self, facts: Facts, channel: str | None, blocks: Iterator[Floats]) -> None:
        for event in run(blocks, self._model, self._config.stream_config(self._model.spec)):
            if isinstance(event, FramesScored):
                facts.stretch(channel, event.first_frame, event.probs)
                facts.length = max(facts.length, event.first_frame + len(event.probs))
            elif isinstance(event, UtteranceScored):
                facts.utterance(channel, event.start, event.end, event.n_scored, event.probs)


def _mixed(path: Path, config: Config) -> Iterator[Floats]:
    limits = decode.DecodeLimits(config.files.max_audio_s, config.files.max_channels)
    resampler = Resampler()
    with path.open("rb") as file, decode.opened(file, limits) as audio:
        for block in audio.blocks():
            yield resampler.push(block.samples, block.rate)
    yield resampler.finish()


def _channel(path: Path, number: int) -> Iterator[Floats]:
    resampler = Resampler()
    with soundfile.SoundFile(path) as file:
        if file.channels != 2:
            raise Unusable(f"--channels 2 wants a recording of two channels; this one has {file.channels}")
        for block in file.blocks(file.samplerate, dtype="float32", always_2d=True):
            yield resampler.push(np.ascontiguousarray(block[:, number]), file.samplerate)
    yield resampler.finish()


def _furthest(peak: float | None, below: bool) -> str:
    """How near a rule came that never told of anything."""
    return "nothing to measure" if peak is None else f"{'lowest' if below else 'highest'} {peak:.2f}"


def _print(path: Path, verdict: Verdict, below: Set[str], as_json: bool, language: Language) -> None:
    if as_json:
        told = [{k: v for k, v in alert.items() if k != "session_id"} for alert in verdict.alerts]
        peaks = {
            name: {
                rule: peak for rule, peak in verdict.peaks.items() if (rule in below) == (name == "lowest")
            }
            for name in ("highest", "lowest")
        }
        print(orjson.dumps({"file": str(path), "alerts": told, **peaks}).decode(), flush=True)
        return
    print(path)
    for alert in verdict.alerts:
        message = alert.get("message_zh", alert["message"]) if language == "zh" else alert["message"]
        who = f"{alert.get('channel', ''):9}"
        print(
            f"  {clock(alert['at_ms']):>10}  {alert['state']:8} {alert['level']:9} {alert['rule']:24} {who}"
            f" {message if alert['state'] != 'cleared' else ''}".rstrip()
        )
    raised = {alert["rule"] for alert in verdict.alerts}
    for rule, peak in verdict.peaks.items():
        if rule not in raised:
            print(f"  {'never':>10}  {'':18} {rule:24} {'':9} ({_furthest(peak, rule in below)})")
    for note in verdict.notes:
        print(f"  note: {note}")
    print(flush=True)
