"""Fitting the network: the losses, the optimiser, and going on where an interrupted run stopped.

What is kept are running averages of the weights after a fixed number of steps: there is no checkpoint to choose,
so a fit with held-out speakers and one with all of them are made alike. Nothing here touches `test`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress, TimeElapsedColumn
from torch import Tensor
from torch.nn import functional as F

from stream.models.compact_net import CompactNet, pool
from training.batches import Batch, Sampler
from training.prepare import Version

READ_OUTS = (50, 100, 200)  # frames after which the utterance so far is judged as well
SAVE_EVERY = 200  # steps


@dataclass(frozen=True)
class FitConfig:
    steps: int = 3000
    batch: int = 64
    peak_rate: float = 2e-3
    weight_decay: float = 0.05
    smoothing: float = 0.1  # of labels
    average: float = 0.995  # per step, of the weights that are kept
    seed: int = 1


def calibrate_inputs(net: CompactNet, version: Version, seed: int) -> None:
    """Set the mean spectral shape, and the shift and scale of the inputs, from clean training clips."""
    rng = np.random.default_rng(seed)
    speech = [i for i, clip in enumerate(version.clips) if clip.corpus != "esc10" and clip.split == "train"]
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


def losses(net: CompactNet, batch: Batch, smoothing: float) -> Tensor:
    """The sum of what is asked for: the utterance, its beginnings, and each frame.

    The softmax runs over the labels of the clip's corpus and `unknown`, or else the network learns which corpus it
    hears and with it which labels to expect; a small share over all nine keeps corpora comparable. The matrix
    products run in bfloat16: three times as fast, and no worse; norms, sums and losses stay in float32.
    """
    device = batch.raw.device
    with torch.no_grad():
        blank = torch.zeros(len(batch.raw), net.config.slow_size, device=device)
        _, heard = net.normalise(batch.before, blank)
        inputs, _ = net.normalise(batch.raw, torch.where(batch.warm[:, None], heard, blank))
        inputs = inputs * batch.bands[:, None] * batch.moments[..., None]
    caches = torch.zeros(len(inputs), sum(net.config.cache_sizes), device=device)
    with torch.autocast(device.type, torch.bfloat16):
        logits, weights, _, _ = net.score(inputs, caches)
    logits, weights = logits.float(), weights.float()
    time = torch.arange(logits.shape[1], device=device)
    valid = (time < batch.lengths[:, None]).float()
    whole = pool(logits, weights * valid)
    total = masked_loss(whole, batch.labels, batch.possible, smoothing).mean()
    total = total + 0.2 * F.cross_entropy(whole, batch.labels, label_smoothing=smoothing)
    for n in READ_OUTS:
        early = pool(logits[:, :n], (weights * valid)[:, :n])
        total = total + 0.15 * masked_loss(early, batch.labels, batch.possible, smoothing).mean()
    # Early frames cannot know yet: they count less.
    patience = valid * ((time + 10) / 80).clamp(max=1)
    per_frame = masked_loss(logits, batch.labels, batch.possible, smoothing)
    return total + 0.4 * (per_frame * patience).sum() / patience.sum()


def masked_loss(logits: Tensor, labels: Tensor, possible: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy (B,) or (B, T) of logits (B, [T,] 9) among the `possible` (B, 9) labels."""
    if logits.dim() == 3:
        labels, possible = labels[:, None].expand(logits.shape[:2]), possible[:, None]
    log_probs = logits.masked_fill(~possible, -1e4).log_softmax(-1)
    right = log_probs.gather(-1, labels[..., None])[..., 0]
    even = (log_probs * possible).sum(-1) / possible.sum(-1)
    return -(1 - smoothing) * right - smoothing * even


def fit(
    net: CompactNet,
    sampler: Sampler,
    config: FitConfig,
    kept: Path,
    device: torch.device,
    judge: Callable[[CompactNet], str] | None = None,
) -> CompactNet:
    """Train `net` on `device`; return the averaged network, on the CPU.

    `kept`: a file for what is needed to go on after an interruption. `judge` is asked now and then, for people.
    """
    torch.manual_seed(config.seed)
    net = net.to(device)
    average = copy.deepcopy(net)
    optimiser, schedule = _optimiser(net, config)
    parts: dict[str, Any] = {"net": net, "average": average, "optimiser": optimiser, "schedule": schedule}
    done = 0
    if kept.exists():
        saved = torch.load(kept, map_location=device, weights_only=True)
        done = saved.pop("done")
        for name, values in saved.items():
            parts[name].load_state_dict(values)
    shown = 0.0
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        task = progress.add_task(kept.stem, total=config.steps, completed=done)
        for step in range(done + 1, config.steps + 1):
            net.train()
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout, the same after an interruption
            loss = losses(net, sampler.batch(config.batch, step).to(device), config.smoothing)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            follow(average, net, min(config.average, 1 - 1 / step))
            shown += max(0.02, 1 / step) * (loss.item() - shown)
            progress.update(task, advance=1, description=f"{kept.stem} loss {shown:.3f}")
            if step % SAVE_EVERY == 0 or step == config.steps:
                torch.save({"done": step, **{name: part.state_dict() for name, part in parts.items()}}, kept)
                told = judge(copy.deepcopy(average).cpu().eval()) if judge else ""
                progress.console.print(f"{kept.stem} step {step}: loss {shown:.3f} {told}")
    return average.cpu().eval()


def _optimiser(
    net: CompactNet, config: FitConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    matrices = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.peak_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.peak_rate, total_steps=config.steps + 1, pct_start=0.1, final_div_factor=100
    )
    return optimiser, schedule


@torch.no_grad()
def follow(average: CompactNet, net: CompactNet, keep: float) -> None:
    """Move the averaged weights a little towards the current ones."""
    for kept, now in zip(average.parameters(), net.parameters(), strict=True):
        kept.lerp_(now, 1 - keep)
