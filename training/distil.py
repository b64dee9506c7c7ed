"""The encoder learns to give, as speech comes in, what the teacher gives for the whole clip.

It begins as the teacher's own weights and has to do without what a stream cannot have: the future, positions, most
of the past. What reaches it has been through rooms, noise and telephones; the teacher heard the voice before that
(`training.prepare`). No label is used, and the speakers that designs are judged by (`training.corpus.folds`) are
left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from rich.progress import Progress, TimeElapsedColumn
from torch import Tensor

from stream.models.compact.encoder import CausalEncoder
from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import CHUNK, FLOOR, GROUP
from stream.models.packed import bf16_is_faster
from training.prepare import MEL_HZ, Version
from training.resume import keep, restore
from training.teacher import FRAMES, N_MELS, Teacher
from training.teacher import MEL_HZ as TEACHER_HZ

HALVES = FRAMES / GROUP * torch.tensor([[2.0, 2, 1, 0, 0], [0, 0, 1, 2, 2]]) / (CHUNK / 2)  # of a chunk


@dataclass(frozen=True)
class DistilConfig:
    steps: int = 4000
    batch: int = 32
    peak_rate: float = 5e-4
    weight_decay: float = 0.01
    shortest: int = 100  # frames of the longest stretch of a batch: from here
    longest: int = 300  # to here
    clean: float = 0.15  # share of stretches from version 0 alone
    color: float = 4.0  # dB: a random slope of the spectrum, as of another microphone
    running: float = 2.0  # weight of the mean so far beside that of single steps: the heads live on means
    seed: int = 1


def transplant(encoder: CausalEncoder, teacher: Teacher) -> None:
    """Set the encoder's weights to the teacher's: its mels are read off ours, its positions are forgotten."""
    width, size = encoder.config.width, encoder.config.width // encoder.config.n_heads
    w = teacher.weights
    with torch.no_grad():
        kernel = torch.einsum("omk,mn->okn", w["conv1/weight"], mels_from(encoder.config.n_mels))
        encoder.first.weight.copy_(kernel.flatten(1))
        encoder.first.bias.copy_(w["conv1/bias"])
        encoder.second.weight.copy_(w["conv2/weight"].permute(0, 2, 1).flatten(1))
        encoder.second.bias.copy_(w["conv2/bias"])
        encoder.origin.copy_(w["positions"][:150].mean(0))
        for k, layer in enumerate(encoder.layers):
            for name in ("norm1", "qkv", "out", "norm2", "wide", "narrow"):
                part = layer.get_submodule(name)
                part.load_state_dict({of: w[f"{k}/{name}/{of}"] for of in ("weight", "bias")})
            for of in ("weight", "bias"):  # of the queries: the encoder's scores are not scaled
                layer.get_submodule("qkv").get_parameter(of)[:width] *= size**-0.5


def mels_from(n_mels: int) -> Tensor:
    """(N_MELS, n_mels): the teacher's log mels as points between ours."""
    ours = librosa.mel_frequencies(n_mels + 2, fmin=MEL_HZ[0], fmax=MEL_HZ[1])[1:-1]
    theirs = librosa.mel_frequencies(N_MELS + 2, fmin=TEACHER_HZ[0], fmax=TEACHER_HZ[1])[1:-1]
    each = [np.interp(theirs, ours, row) for row in np.eye(n_mels)]
    return torch.from_numpy(np.stack(each, 1).astype(np.float32))


class Lessons:
    """Stretches of clips with what the teacher says of them. Batch k of a seed is always the same one."""

    def __init__(self, versions: list[Version], allowed: Iterable[int], config: DistilConfig) -> None:
        self._versions, self._config = versions, config
        self._allowed = np.array(sorted(allowed))
        names = [versions[0].clips[i].speaker or str(i) for i in self._allowed]
        counts = Counter(names)
        odds = np.array([counts[name] ** -0.4 for name in names])
        self._odds = odds / odds.sum()

    def batch(self, number: int, n_mels: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log mels (B, T, n_mels), targets (B, T / FRAMES, width), and 1 where a step is one: (B, T / FRAMES)."""
        c = self._config
        rng = np.random.default_rng((c.seed, number))
        longest = int(rng.integers(c.shortest // GROUP, c.longest // GROUP + 1)) * GROUP
        mels = np.zeros((c.batch, longest, n_mels), np.float32)
        steps = longest // FRAMES
        targets = np.zeros((c.batch, steps, self._versions[0].taught.shape[1]), np.float32)
        mask = np.zeros((c.batch, steps), np.float32)
        for row, i in enumerate(rng.choice(self._allowed, c.batch, p=self._odds)):
            clean = rng.random() < c.clean
            version = self._versions[0 if clean else int(rng.integers(len(self._versions)))]
            start, end = version.span(int(i))
            skipped = 0
            if rng.random() < 0.4 and end - start > 150:
                skipped = int(rng.integers(0, (end - start - 80) // FRAMES))
            start += skipped * FRAMES
            frames = version.raw(int(i), start, min(end, start + longest))[:, :n_mels].astype(np.float32)
            color = rng.normal(0, c.color * np.log(10) / 10, 5)
            frames += np.interp(np.arange(n_mels), np.linspace(0, n_mels - 1, 5), color).astype(np.float32)
            frames = np.maximum(frames, np.log(FLOOR))
            mels[row, : len(frames)], mels[row, len(frames) :] = frames, frames[-1]
            n = len(frames) // FRAMES
            targets[row, :n] = version.taught[slice(*version.taught_bounds[i])][skipped : skipped + n]
            mask[row, :n] = 1
        return torch.from_numpy(mels), torch.from_numpy(targets), torch.from_numpy(mask)


class Measure:
    """How far the encoder is from the teacher: deviations along the principal axes of what the teacher says.

    Emotion is not where most of the variance is (phones are), nor where next to none is: squared errors along an
    axis are divided by its deviation.
    """

    def __init__(self, version: Version, allowed: Iterable[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        some = rng.choice(sorted(allowed), 1500)
        given = np.concatenate([version.taught[slice(*version.taught_bounds[i])] for i in some]).astype(
            np.float32
        )
        mean, scale = given.mean(0), given.std(0) + 1e-3
        power, axes = np.linalg.eigh(np.cov(np.clip((given - mean) / scale, -5, 5).T))
        weights = power**-0.25 / np.sqrt((power**0.5).sum())
        self._mean, self._scale = torch.from_numpy(mean), torch.from_numpy(scale)
        self._axes = torch.from_numpy((axes * weights).astype(np.float32))

    def apart(self, given: Tensor, wanted: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean square distance of given from wanted (B, steps, width), step by step and of the means so far."""
        given, wanted = ((x - self._mean) / self._scale for x in (given, wanted))
        error = (given.clamp(-8, 8) - wanted.clamp(-5, 5)) @ self._axes
        so_far = (error * mask[..., None]).cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None]
        return tuple((e.square().sum(-1) * mask).sum() / mask.sum() for e in (error, so_far))  # type: ignore[return-value]


def distil(
    net: CompactNet, versions: list[Version], allowed: Iterable[int], config: DistilConfig, kept: Path
) -> None:
    """Teach `net.encoder`, which has been transplanted, in place. `kept`: to go on after an interruption."""
    allowed = list(allowed)
    lessons, measure = Lessons(versions, allowed, config), Measure(versions[0], allowed, config.seed)
    optimizer = torch.optim.AdamW(
        net.encoder.parameters(), lr=config.peak_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.peak_rate, total_steps=config.steps + 1, pct_start=0.06, final_div_factor=50
    )
    parts: dict[str, Any] = {"encoder": net.encoder, "optimizer": optimizer, "schedule": schedule}
    done = restore(kept, parts, torch.device("cpu"))
    shown = 0.0
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        task = progress.add_task("encoder", total=config.steps, completed=done)
        for step in range(done + 1, config.steps + 1):
            mels, wanted, mask = lessons.batch(step, net.config.n_mels)
            single, so_far = measure.apart(halves(net, mels), wanted, mask)
            loss = single + config.running * so_far
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.encoder.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            shown += max(0.02, 1 / step) * (single.item() - shown)
            progress.update(task, advance=1, description=f"encoder {shown:.3f}")
            keep(kept, parts, step, config.steps)


def halves(net: CompactNet, mels: Tensor) -> Tensor:
    """What the encoder says of spans that begin with mels (B, T, n_mels): (B, T / FRAMES, width)."""
    batch = len(mels)
    with torch.no_grad():
        _, _, running_level = net.level(mels, torch.zeros(batch, 2))
    blank = torch.zeros(batch, sum(net.config.encoder.cache_sizes))
    cheap = bf16_is_faster(mels.device)
    with torch.autocast(mels.device.type, torch.bfloat16, enabled=cheap):
        given: Tensor = net.encoder(mels, running_level, blank, HALVES)[0]
    return given.float().flatten(1, 2)
