"""Make the `compact` model: prepare, fit, choose on `val`, judge on `test`, write the weights and a report.

    python -m training.train --data DIR --out models/compact

Runs on one core in about half an hour; the same seed on the same machine gives the same weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from stream.models.compact import load, save
from stream.models.compact_net import NetConfig
from stream.types import LABELS
from training.corpus import ROOT, data_folder, read_clips
from training.evaluate import fit_temperature, predict
from training.fit import FitConfig, calibrate_inputs, fit
from training.prepare import open_version, prepare, untrained
from training.report import report


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and judge the compact model.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "compact", help="where the weights go")
    parser.add_argument("--work", type=Path, default=ROOT / "training" / "work", help="the cache of features")
    parser.add_argument("--versions", type=int, default=4, help="augmented copies of the training clips")
    parser.add_argument("--steps", type=int, default=FitConfig.steps)
    parser.add_argument("--seed", type=int, default=FitConfig.seed)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    fit_config = FitConfig(steps=args.steps, seed=args.seed)
    clips = read_clips(args.data)
    net = untrained(NetConfig())
    prepare(args.data, clips, net, args.versions, args.work)
    train = [open_version(clips, "train", version, args.work) for version in range(args.versions + 1)]
    val = open_version(clips, "val", 0, args.work)
    calibrate_inputs(net, train[0], args.seed)

    net = fit(net, train, val, fit_config)
    temperature = fit_temperature(predict(net, val).whole, val)
    heard = {clip.label for clip in train[0].clips}
    save(net, tuple(label for i, label in enumerate(LABELS) if i in heard), temperature, args.out)

    test = open_version(clips, "test", 0, args.work)
    figures = {"fit": asdict(fit_config), **report(load("cpu", args.out), net, val, test)}
    text = json.dumps(figures, indent=2)
    (args.out / "report.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
