"""Recordings and arrays, as `server.files` reads them: everything is decoded in one place."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from server.decoding.ffmpeg import RATES
from server.files import decode, find
from stream.codec import Resampler
from stream.types import SAMPLE_RATE, Floats

_SUBTYPES = {"float32": "FLOAT", "float64": "DOUBLE", "int16": "PCM_16", "int32": "PCM_32"}


def load(path: Path, max_channels: int) -> tuple[Floats, int]:
    """The samples (n,) of a recording and their rate in Hz. Raises ClientError."""
    with (
        find.open_recording(path) as file,
        decode.opened(file, decode.DecodeLimits(max_channels=max_channels)) as audio,
    ):
        blocks = list(audio.blocks())
    if len({block.rate for block in blocks}) == 1:
        return np.concatenate([block.samples for block in blocks]), blocks[0].rate
    resampler = Resampler()  # its rate changes on the way
    pieces = [resampler.push(block.samples, block.rate) for block in blocks]
    return np.concatenate([*pieces, resampler.finish()]), SAMPLE_RATE


def as_file(waveform: Any, sample_rate: int, max_channels: int) -> BinaryIO:
    """An array as a recording without loss. Raises ValueError and TypeError for what is no waveform."""
    samples = np.asarray(waveform)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 0 < samples.shape[1] <= max_channels):
        raise ValueError(
            f"a waveform of shape {samples.shape}: give (n,) or (n, channels); transpose what is (channels, n)"
        )
    if not len(samples):
        raise ValueError("a waveform without samples")
    if str(samples.dtype) not in _SUBTYPES:
        raise TypeError(f"a waveform of {samples.dtype}: give floats from -1 to 1, int16 or int32")
    if sample_rate not in RATES:
        known = f"{RATES[0]} to {RATES[-1]} Hz"
        raise ValueError(f"a sample rate of {sample_rate}: give that of the waveform, {known}")
    file = io.BytesIO()
    # W64, since a WAV ends at 4 GB.
    soundfile.write(file, samples, int(sample_rate), format="W64", subtype=_SUBTYPES[str(samples.dtype)])
    file.seek(0)
    return file
