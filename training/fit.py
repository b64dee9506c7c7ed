"""Fitting the heads: the losses, the optimizer, and going on where an interrupted run stopped.

What is kept are running averages of the weights after a fixed number of steps: there is no checkpoint to choose,
so a fit with held-out speakers and one with all of them are made alike. Nothing here touches `test`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress, TimeElapsedColumn
from torch import Tensor
from torch.nn import functional as F

from stream.models.compact.network import CompactNet, attention, moments
from stream.types import N_LABELS
from training.axes import fold, without
from training.batches import Batch, Sampler
from training.encode import EncodedClips
from training.resume import keep, restore

MOMENTS = 8  # of each stretch, evenly spaced, at which the heads are asked


@dataclass(frozen=True)
class FitConfig:
    steps: int = 600
    batch: int = 192
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.1  # of labels
    noise: float = 0.2  # on the statistics, in deviations
    average: float = 0.99  # per step, of the weights that are kept
    seed: int = 1


def standardize(net: CompactNet, version: EncodedClips, seed: int) -> None:
    """Set mean and scale of what is encoded, from clips of `version`."""
    rng = np.random.default_rng(seed)
    some = rng.choice(len(version.clips), min(1500, len(version.clips)), replace=False)
    steps = np.concatenate([version.of(int(i)) for i in some])
    net.encoded_mean.copy_(torch.from_numpy(steps.mean(0)))
    net.encoded_scale.copy_(torch.from_numpy(1 / (steps.std(0) + 1e-4)))


def standardize_statistics(net: CompactNet, batch: Batch) -> None:
    """Set mean and scale of what the heads read, from one batch."""
    with torch.no_grad():
        stats = statistics_at(net, batch).flatten(0, 1)
        net.stats_mean.copy_(stats.mean(0))
        net.stats_scale.copy_(1 / (stats.std(0) + 1e-3))


def statistics_at(net: CompactNet, batch: Batch) -> Tensor:
    """What `net.statistics` gives at MOMENTS evenly spaced steps of each stretch: (B, MOMENTS, n_stats)."""
    device, config = batch.encoded.device, net.config
    shares = torch.arange(1, MOMENTS + 1, device=device) / MOMENTS
    at = (batch.lengths[:, None] * shares).ceil().clamp(min=1) - 1
    ages = at[..., None] - torch.arange(batch.encoded.shape[1], device=device)
    each = moments(batch.encoded)

    def sums(time_constant: float) -> Tensor:
        return torch.where(ages >= 0, torch.exp(-ages / time_constant), 0.0) @ each

    before = torch.exp(-(at[..., None] + 1) / config.session_steps) * batch.session[:, None]
    return net.summary(sums(config.recent_steps), sums(config.session_steps) + before)


def losses(net: CompactNet, axes: Tensor, batch: Batch, config: FitConfig) -> Tensor:
    """The sum of what is asked for of every head: the utterance, its beginnings, and single steps.

    The softmax runs over the labels of the clip's corpus and `unknown`, or else the heads learn which corpus they
    hear and with it which labels to expect; a small share over all nine keeps corpora comparable.
    """
    with torch.no_grad():
        stats = statistics_at(net, batch)
        inputs = without((stats - net.stats_mean) * net.stats_scale, axes)
        inputs = inputs + config.noise * torch.randn_like(inputs)
    out = net.heads.each(inputs)
    logits, weights = out[..., :N_LABELS], attention(out, stats)
    so_far = (weights[..., None] * logits).cumsum(2) / weights.cumsum(2)[..., None]

    def loss(of: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of (n_heads, B, ..., 9) among the possible labels."""
        return masked_loss(of, batch.labels, batch.possible, smoothing)

    return (
        loss(so_far[:, :, -1:], config.smoothing)
        + 0.5 * loss(so_far[:, :, :-1])
        + 0.2 * loss(logits)
        + 0.1 * F.cross_entropy(so_far[:, :, -1].flatten(0, 1), batch.labels.repeat(len(out)))
    )


def masked_loss(logits: Tensor, labels: Tensor, possible: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy of logits (n_heads, B, T, 9) among the `possible` (B, 9) labels."""
    log_probs = logits.masked_fill(~possible[:, None], -1e4).log_softmax(-1)
    right = log_probs.gather(-1, labels[None, :, None, None].expand(*logits.shape[:3], 1))[..., 0]
    even = (log_probs * possible[:, None]).sum(-1) / possible.sum(-1)[:, None]
    return -(right + smoothing * even).mean()


def fit(
    net: CompactNet, axes: Tensor, sampler: Sampler, config: FitConfig, kept: Path, device: torch.device
) -> CompactNet:
    """Train the heads of `net`, which has been standardized, on `device`; they do not read what lies along `axes`
    (`training.axes`). Return the network with averaged heads, on the CPU.

    `kept`: a file for what is needed to go on after an interruption.
    """
    torch.manual_seed(config.seed)
    net, axes = net.to(device), axes.to(device)
    average = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(
        net.heads.parameters(), lr=config.peak_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.peak_rate, total_steps=config.steps + 1, pct_start=0.05, final_div_factor=100
    )
    parts: dict[str, Any] = {"net": net, "average": average, "optimizer": optimizer, "schedule": schedule}
    done = restore(kept, parts, device)
    shown = 0.0
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        task = progress.add_task(kept.stem, total=config.steps, completed=done)
        net.train()
        for step in range(done + 1, config.steps + 1):
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout, the same after an interruption
            loss = losses(net, axes, sampler.batch(config.batch, step).to(device), config)
            optimizer.zero_grad()
            (loss * net.config.n_heads).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            follow(average, net, min(config.average, 1 - 1 / step))
            shown += max(0.02, 1 / step) * (loss.item() - shown)
            progress.update(task, advance=1, description=f"{kept.stem} loss {shown:.3f}")
            keep(kept, parts, step, config.steps)
    fold(average, axes)
    return average.cpu().eval()


@torch.no_grad()
def follow(average: CompactNet, net: CompactNet, keep: float) -> None:
    """Move the averaged heads a little towards the current ones."""
    for kept, now in zip(average.heads.parameters(), net.heads.parameters(), strict=True):
        kept.lerp_(now, 1 - keep)
