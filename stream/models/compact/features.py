"""The features of the `compact` model: samples to the log mels and the periodicity of every frame.

Everything after them is causal and small; what they are and why is in docs/decisions/0005. Their two products are
packed with the network's others (`stream.models.packed`), in float32 always: what comes out is rounded to bfloat16
further on, where a last digit that depended on the number of rows would show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stream.models.compact.sizes import FLOOR, N_FFT, PITCH_HZ, VOICED
from stream.models.packed import Packable, PlainProduct, Product, ProductFactory
from stream.types import FRAME, HOP, SAMPLE_RATE


class Features(Packable):
    """samples float32 (B, N >= 400) at 16 kHz -> (B, T, n_mels + n_lags): log mel power, then autocorrelation.

    The mels are librosa's `melspectrogram(center=False)` of the same window and filters. The autocorrelation is
    that of the magnitude spectrum (compression flattens the formants), normalized to its value at lag 0.
    """

    window: Tensor
    mel: Tensor
    lag_cos: Tensor
    lag_pitch: Tensor

    def __init__(self, n_mels: int, n_lags: int) -> None:
        super().__init__()
        n_bins = N_FFT // 2 + 1
        low, high = (math.log(f) for f in PITCH_HZ)
        log_f0 = torch.linspace(low, high, n_lags, dtype=torch.float64)
        angle = (SAMPLE_RATE / log_f0.exp())[None, :] * torch.arange(n_bins)[:, None] * (2 * math.pi / N_FFT)
        self.register_buffer("window", torch.hann_window(FRAME))
        self.register_buffer("mel", torch.zeros(n_bins, n_mels))
        self.register_buffer("lag_cos", torch.cos(angle).float())
        self.register_buffer("lag_pitch", (log_f0 - log_f0.mean()).float())
        self._products: tuple[Product, Product] | None = None

    def pack(self, make: ProductFactory, dtype: torch.dtype) -> None:
        """In float32, whatever `dtype`."""
        self._products = self._laid_out(make)

    def forward(self, samples: Tensor) -> Tensor:
        to_mels, to_lags = self._products or self._laid_out(PlainProduct)
        frames = samples.unfold(1, FRAME, HOP) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, N_FFT))
        power = spectrum[..., 0].square() + spectrum[..., 1].square()
        mels = (to_mels(power) + FLOOR).log()
        magnitude = power.sqrt()[..., VOICED]
        lags = to_lags(magnitude) / (magnitude.sum(-1, keepdim=True) + 1e-4)
        return torch.cat([mels, lags], dim=-1)

    def _laid_out(self, make: ProductFactory) -> tuple[Product, Product]:
        return make(self.mel.T), make(self.lag_cos[VOICED].T)
