"""What a large speech model makes of a clip: the targets that our small encoder learns to give by itself.

The teacher is the beginning of Whisper's smallest encoder (Radford et al. 2022, "Robust speech recognition via
large-scale weak supervision", https://arxiv.org/abs/2212.04356; weights: TEACHER.md): two convolutions and the
first transformer layers, which hear all of a clip at once, before and after. They tell emotions of strangers apart
far better than anything that 160 voices can teach (training/EXPERIMENTS.md), and are far too dear to serve.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stream.types import FRAME, HOP, SAMPLE_RATE, Floats

WEIGHTS = Path(__file__).parent / "teacher.npz"
N_MELS, N_FFT, MEL_HZ = 80, 400, (0.0, 8000.0)
FRAMES = 5  # of our own grid per step of what is taught: 50 ms
WIDTH, N_HEADS = 384, 6
PEAK = 0.7  # of the samples, as recordings published on the web have it


class Teacher:
    """Whisper's encoder up to the layers that WEIGHTS holds."""

    def __init__(self) -> None:
        with np.load(WEIGHTS, allow_pickle=False) as arrays:
            self.weights = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
        self._n_layers = sum(name.endswith("qkv/weight") for name in self.weights)
        self._mel = torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS))
        self._window = torch.hann_window(N_FFT)

    @torch.inference_mode()
    def steps(self, samples: Floats) -> Floats:
        """samples float32 (N,) at 16 kHz, at most 30 s -> (T, WIDTH): means over FRAMES frames of our own grid.

        The last step may be of fewer frames, as a span's is.
        """
        n_frames = max(1, (len(samples) - FRAME) // HOP + 1)
        padded = np.pad(samples, (0, max(0, FRAME - len(samples))))
        said = self._layers(self._log_mel(torch.from_numpy(padded)))
        # Ours has its middle at 160 i + 200 samples, the teacher's at 320 t.
        at = (torch.arange(n_frames) * HOP + FRAME // 2 + HOP) // (2 * HOP)
        frames = said[at.clamp(max=len(said) - 1)]
        n_steps = -(-n_frames // FRAMES)
        frames = torch.cat([frames, frames[-1:].expand(n_steps * FRAMES - n_frames, -1)])
        return np.asarray(frames.view(n_steps, FRAMES, WIDTH).mean(1).numpy(), np.float32)

    def _log_mel(self, samples: Tensor) -> Tensor:
        """(N,) -> (N_MELS, T), Whisper's own: decades of power, the lowest eight below the loudest cut off."""
        samples = samples * (PEAK / (samples.abs().max() + 1e-9))
        spectrum = torch.stft(samples, N_FFT, HOP, window=self._window, return_complex=True)[:, :-1]
        mels = (self._mel @ spectrum.abs().square()).clamp(min=1e-10).log10()
        return (mels.maximum(mels.max() - 8) + 4) / 4

    def _layers(self, mels: Tensor) -> Tensor:
        """(N_MELS, T) -> (T / 2, WIDTH)."""
        w = self.weights
        x = F.gelu(F.conv1d(mels[None], w["conv1/weight"], w["conv1/bias"], padding=1))
        x = F.gelu(F.conv1d(x, w["conv2/weight"], w["conv2/bias"], stride=2, padding=1))[0].T
        x = x + w["positions"][: len(x)]
        for k in range(self._n_layers):
            x = x + self._linear(k, "out", self._attend(k, self._norm(k, "norm1", x)))
            x = x + self._linear(k, "narrow", F.gelu(self._linear(k, "wide", self._norm(k, "norm2", x))))
        return x

    def _attend(self, k: int, x: Tensor) -> Tensor:
        q, key, value = self._linear(k, "qkv", x).view(len(x), 3, N_HEADS, -1).permute(1, 2, 0, 3)
        return F.scaled_dot_product_attention(q[None], key[None], value[None])[0].transpose(0, 1).flatten(1)

    def _linear(self, k: int, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{k}/{name}/weight"], self.weights[f"{k}/{name}/bias"])

    def _norm(self, k: int, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,), self.weights[f"{k}/{name}/weight"], self.weights[f"{k}/{name}/bias"])
