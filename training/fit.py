"""Fitting the network: the losses, the optimiser, and the choice of a checkpoint on the `val` speakers.

What is kept are running averages of the weights, judged every few hundred steps; the best on `val` wins.
Nothing here touches `test`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import Progress, TimeElapsedColumn
from torch import Tensor
from torch.nn import functional as F

from stream.models.compact_net import CompactNet, pool
from training.batches import Batch, Sampler, mask_inputs
from training.evaluate import mean_uar, predict
from training.prepare import Version


@dataclass(frozen=True)
class FitConfig:
    steps: int = 1900
    batch: int = 64
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.1  # of labels
    average: float = 0.995  # per step, of the weights that are kept
    judge_every: int = 200
    seed: int = 1


def calibrate_inputs(net: CompactNet, version: Version, seed: int) -> None:
    """Set the mean spectral shape, and the shift and scale of the inputs, from clean training clips."""
    rng = np.random.default_rng(seed)
    speech = [i for i, clip in enumerate(version.clips) if clip.corpus != "esc10"]
    pieces = []
    for i in rng.choice(speech, 400, replace=False):
        first, end = version.speech[i]
        piece = version.raw(int(i), int(first), int(min(end, first + 100))).astype(np.float32)
        if len(piece) == 100:
            pieces.append(torch.from_numpy(piece))
    raw = torch.stack(pieces)
    mels = raw[..., : net.config.n_mels]
    level = mels.exp().mean((1, 2)).log()
    net.mean_shape.copy_((mels.mean(1) - level[:, None]).mean(0))
    inputs, _ = net.normalise(raw, torch.zeros(len(raw), net.config.slow_size))
    scale = 1 / inputs.std((0, 1)).clamp(min=1e-3)
    net.in_scale.copy_(scale)
    net.in_shift.copy_(-inputs.mean((0, 1)) * scale)


def losses(net: CompactNet, batch: Batch, smoothing: float, rng: np.random.Generator) -> Tensor:
    """The sum of what is asked for: the utterance, its first second, and each frame.

    The softmax runs over the labels of the clip's corpus, or else the network learns which corpus it hears
    and with it which labels to expect; a small share over all nine keeps corpora comparable.
    """
    with torch.no_grad():
        blank = torch.zeros(len(batch.raw), net.config.slow_size)
        _, heard = net.normalise(batch.before, blank)
        inputs, _ = net.normalise(batch.raw, torch.where(batch.warm[:, None], heard, blank))
        inputs = mask_inputs(inputs, net.config, rng)
    logits, weights, _, _ = net.score(inputs, torch.zeros(len(inputs), sum(net.config.cache_sizes)))
    time = torch.arange(logits.shape[1])
    valid = (time < batch.lengths[:, None]).float()
    whole = pool(logits, weights * valid)
    early = pool(logits[:, :100], (weights * valid)[:, :100])
    # Early frames cannot know yet: they count less.
    patience = valid * ((time + 10) / 100).clamp(max=1)
    per_frame = masked_loss(logits, batch.labels, batch.possible, smoothing)
    frames = (per_frame * patience).sum() / patience.sum()
    return (
        masked_loss(whole, batch.labels, batch.possible, smoothing).mean()
        + 0.2 * F.cross_entropy(whole, batch.labels, label_smoothing=smoothing)
        + 0.3 * masked_loss(early, batch.labels, batch.possible, smoothing).mean()
        + 0.3 * frames
    )


def masked_loss(logits: Tensor, labels: Tensor, possible: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy (B,) or (B, T) of logits (B, [T,] 9) among the `possible` (B, 9) labels."""
    if logits.dim() == 3:
        labels, possible = labels[:, None].expand(logits.shape[:2]), possible[:, None]
    log_probs = logits.masked_fill(~possible, -1e4).log_softmax(-1)
    right = log_probs.gather(-1, labels[..., None])[..., 0]
    even = (log_probs * possible).sum(-1) / possible.sum(-1)
    return -(1 - smoothing) * right - smoothing * even


def fit(net: CompactNet, train: list[Version], val: Version, config: FitConfig) -> CompactNet:
    """Train `net`; return the averaged network that does best on `val`."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    sampler = Sampler(train, net.config, config.seed)
    matrices = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.peak_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.peak_rate, total_steps=config.steps, pct_start=0.1, final_div_factor=100
    )
    average = copy.deepcopy(net)
    best, best_score, shown = copy.deepcopy(net), 0.0, 0.0
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        task = progress.add_task("fit", total=config.steps)
        for step in range(1, config.steps + 1):
            net.train()
            loss = losses(net, sampler.batch(config.batch), config.smoothing, rng)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            follow(average, net, min(config.average, 1 - 1 / step))
            shown += 0.02 * (loss.item() - shown)
            progress.update(task, advance=1, description=f"loss {shown:.3f} val {best_score:.3f}")
            if step % config.judge_every == 0 or step == config.steps:
                score = mean_uar(predict(average, val).whole, val)
                progress.console.print(f"step {step}: loss {shown:.3f}, UAR on val {score:.3f}")
                if score > best_score:
                    best, best_score = copy.deepcopy(average), score
    return best.eval()


@torch.no_grad()
def follow(average: CompactNet, net: CompactNet, keep: float) -> None:
    """Move the averaged weights a little towards the current ones."""
    for kept, now in zip(average.parameters(), net.parameters(), strict=True):
        kept.lerp_(now, 1 - keep)
