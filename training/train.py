"""Make the `compact` model: prepare, distil, fit without some speakers, calibrate by them, fit with all, judge.

    python -m training.train --data DIR --out weights/compact

Well under two hours on two cores. Interrupted, it goes on where it was. The same seed on the same machine gives
the same weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from stream.models.compact.model import load, save
from stream.models.compact.network import CompactNet, Heads
from stream.models.compact.sizes import NetConfig
from stream.prior import BALANCED, CONVERSATION, PRIORS
from stream.types import LABELS
from training import graph, quantize
from training.axes import between_corpora
from training.batches import Sampler
from training.calibrate import calibrate
from training.corpus import (
    ROOT,
    UNKNOWN,
    TrainingClip,
    data_folder,
    folds,
    judged,
    labels_of,
    read_clips,
)
from training.distil import DistilConfig, distil
from training.encode import EncodedClips, open_encoded, prepare_encoded, untrained
from training.evaluate import predict
from training.fit import FitConfig, fit, standardize, standardize_statistics
from training.prepare import POOL, Version, open_version, prepare
from training.report import report


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train and judge the compact model.")
    about = "folder with manifest.csv; default: the one that EMOTION_DATA names"
    parser.add_argument("--data", type=Path, default=data_folder(), help=about)
    parser.add_argument("--out", type=Path, default=ROOT / "weights" / "compact", help="where the weights go")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "training" / "cache", help="features, checkpoints"
    )
    parser.add_argument(
        "--licenses", choices=("all", "commercial"), default="all", help="leave out what may not be sold"
    )
    parser.add_argument("--versions", type=int, default=6, help="augmented copies of the training clips")
    parser.add_argument("--steps", type=int, default=FitConfig.steps)
    parser.add_argument(
        "--lessons", type=int, default=DistilConfig.steps, help="steps of the encoder's distillation"
    )
    parser.add_argument("--seed", type=int, default=FitConfig.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the computation")
    args = parser.parse_args(given)
    if args.data is None:
        parser.error("set EMOTION_DATA to a folder with manifest.csv, or give --data (training/README.md)")

    torch.set_num_threads(args.threads)
    config = FitConfig(steps=args.steps, seed=args.seed)
    clips = read_clips(args.data, args.licenses == "commercial")
    check(clips)
    numbers = range(args.versions + 1)
    blank = untrained(NetConfig())
    prepare(args.data, clips, blank, args.versions, args.work, args.threads)
    pretrained = distilled(blank, [open_version(clips, POOL, number, args.work) for number in numbers], args)
    prepare_encoded(pretrained, clips, [("test", 0), *((POOL, number) for number in numbers)], args.work)
    versions = [open_encoded(clips, POOL, number, args.work) for number in numbers]

    strangers = []
    for k, held in enumerate(folds(versions[0].clips)):
        net = fit_without(held, pretrained, versions, config, args.work / f"fold-{k}.pt")
        strangers.append(predict(net, versions[0].only(held)))
    calibrated = {prior: calibrate(strangers, prior) for prior in PRIORS}
    net = fit_without((), pretrained, versions, config, args.work / "all.pt")
    known = {clip.label for clip in versions[0].clips}
    supported_labels = tuple(label for i, label in enumerate(LABELS) if i in known)
    save(net, supported_labels, {prior: one.fitted for prior, one in calibrated.items()}, args.out)

    quantize.write(clips, args.out)
    graph.write(args.out)

    encoded_test = open_encoded(clips, "test", 0, args.work)
    test = open_version(clips, "test", 0, args.work)
    figures = {
        "learned_from": learned_from(clips),
        "fit": asdict(config),
        "held_out": calibrated[BALANCED].figures,
        "held_out_conversation": calibrated[CONVERSATION].figures,
        **report(load("cpu", args.out), net, encoded_test, test),
    }
    text = json.dumps(figures, indent=2)
    (args.out / "report.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def check(clips: Sequence[TrainingClip]) -> None:
    """Raise ValueError where a model cannot be made of `clips`, or not judged."""
    for split in ("train", "test"):
        mine = [clip for clip in clips if clip.split == split]
        labels = {clip.label for clip in mine} - {UNKNOWN}
        if len(labels) < 2:
            raise ValueError(
                f"{len(mine)} clips of split {split}, of {len(labels)} emotions: at least two are needed, of"
                " speakers who are in no other split"
            )
        strange = [
            corpus for corpus, own in labels_of(mine).items() if corpus in judged(mine) and len(own) < 2
        ]
        if strange:
            raise ValueError(
                f"{', '.join(strange)}: one emotion alone in split {split}: there is nothing to tell apart"
            )


def learned_from(clips: Sequence[TrainingClip]) -> dict[str, dict[str, object]]:
    """How many clips of which corpus, and under which license."""
    found: dict[str, dict[str, object]] = {}
    for corpus in labels_of(clips):
        mine = [clip for clip in clips if clip.corpus == corpus and clip.split != "test"]
        licenses = sorted({clip.license or "not stated" for clip in mine})
        found[corpus] = {"clips": len(mine), "license": ", ".join(licenses)}
    return found


def distilled(net: CompactNet, versions: list[Version], args: argparse.Namespace) -> CompactNet:
    """`net` with an encoder that has learned from all speakers but those that designs are judged by."""
    judges = set().union(*folds(versions[0].clips))
    others = [i for i in range(len(versions[0].clips)) if i not in judges]
    distil(net, versions, others, DistilConfig(steps=args.lessons, seed=args.seed), args.work / "ear.pt")
    return net.eval().requires_grad_(False)


def fit_without(
    held: Collection[int], pretrained: CompactNet, versions: list[EncodedClips], config: FitConfig, kept: Path
) -> CompactNet:
    """A network with the encoder of `pretrained` whose heads have not seen the clips `held`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    net = copy.deepcopy(pretrained)
    net.heads = Heads(net.config)
    seen = [i for i in range(len(versions[0].clips)) if i not in held]
    clean = versions[0].only(seen)
    standardize(net, clean, config.seed)
    sampler = Sampler(versions, seen, net, config.seed)
    standardize_statistics(net, sampler.batch(config.batch, 0))
    return fit(net, between_corpora(net, clean), sampler, config, kept, device)


if __name__ == "__main__":
    main()
