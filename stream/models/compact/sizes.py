"""Sizes and constants of the `compact` model, for every runtime: nothing here needs torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from stream.types import HOP, SAMPLE_RATE, Floats

# What an embedding follows. `emotion`: the mean of what the heads' last layer reads, from which that layer gives
# back the scores; `voice`: of what the encoder hears, who speaks and where included.
Embedding = Literal["emotion", "voice"]
EMBEDDINGS: tuple[Embedding, ...] = ("emotion", "voice")

# Features.
N_FFT = 512
FLOOR = 1e-10  # mel power of digital silence: below the noise of 16-bit audio
PITCH_HZ = (60.0, 450.0)  # lags lie there, evenly in log frequency
VOICED = slice(2, 2000 * N_FFT // SAMPLE_RATE + 1)  # bins: above 2 kHz noise and formants only blur the peaks

# The encoder.
GROUP = 10  # frames of a chunk: 100 ms
CHUNK = GROUP // 2  # positions of a chunk: the second convolution halves the rate
# How often the heads are asked in a chunk: every 50 ms. At every position it would cost a quarter more
# (docs/decisions/0023). Divides GROUP.
ANSWERS = 2
# By what their weights are multiplied, 1 on average: the heads learned to weigh whole steps, and what is pooled
# rests on these. A last step that is not full has one answer.
ANSWER_SHARES = (*(1e-3,) * (ANSWERS - 1), ANSWERS - 1e-3 * (ANSWERS - 1))
LOG10 = math.log(10)
# Decades: where the running level of speech lies in Whisper's input, of recordings that peak at 0.7.
LEVEL_OFFSET = -1.0
LOG_MEL_FLOOR = -6.6  # decades below the running level: Whisper cuts off what lies eight below its loudest
MASK_VALUE = -1e4  # in place of an attention score: not attended to

# The heads and what they read.
STEPS_PER_S = SAMPLE_RATE // (HOP * GROUP)  # of the heads
QUIET = -12.0  # nats: anything 52 dB below the running level counts as silence, whatever made it
LEVEL_BANDS = slice(5, 46)  # mels of 300 to 3,400 Hz: a telephone does not change what is measured there
LEVEL_RATIO = 1.1065  # of speech: its mean mel power by that of LEVEL_BANDS
OUTLYING = 5.0  # deviations: what lies beyond says no more, and its square would cost digits
WARMUP_STEPS = 16.0  # steps after which a span's statistics count in full
DEVIATION_FLOOR = 0.1  # added to deviations before their logarithm is taken
# How long what has an embedding is taken to have lasted: of 4 to 40 steps, 20 came nearest to the scores of the
# sound (180 clips of `val` of three corpora).
EMBEDDED_STEPS = 20


def beginnings(n: int) -> Floats:
    """(ANSWERS, n): means over the first 1/ANSWERS of `n` things in a row, the first 2/ANSWERS, … and all of them;
    what a border falls into counts in part."""
    ends = n * np.arange(1, ANSWERS + 1)[:, None] / ANSWERS
    means: Floats = (np.clip(ends - np.arange(n), 0, 1) / ends).astype(np.float32)
    return means


@dataclass(frozen=True)
class CausalEncoderConfig:
    """Sizes. `left`: positions before a chunk that it attends to; `ema_positions`: time constants of averages."""

    n_mels: int = 64
    width: int = 384
    n_heads: int = 6
    n_layers: int = 2
    left: int = 5  # CHUNK at most
    ema_positions: tuple[float, ...] = (25.0, 200.0)  # positions of 20 ms: 0.5 s and 4 s

    @property
    def layer_cache(self) -> int:
        """Keys and values of the positions before, and their decaying sums."""
        return self.width * (self.left + 2 * len(self.ema_positions))

    @property
    def cache_sizes(self) -> tuple[int, ...]:
        """Two frames of mels, one row between the convolutions, chunks so far, and the layers'."""
        return (2 * self.n_mels, self.width, 1, *(self.layer_cache,) * self.n_layers)


@dataclass(frozen=True)
class NetConfig:
    """Sizes of the network. The state's size follows from them."""

    n_lags: int = 40  # lags of the autocorrelation (`features`)
    encoder: CausalEncoderConfig = field(default_factory=CausalEncoderConfig)
    n_heads: int = 4
    hidden: tuple[int, int] = (192, 128)  # of each head
    level_frames: float = 1000.0  # time constant of the running level: 10 s
    recent_steps: float = 40.0  # of the statistics of the span: 4 s
    session_steps: float = 600.0  # of those of the session: a minute of speech
    prior_steps: float = 40.0  # weight of the average voice in what a session is used to
    dropout: float = 0.4  # in the heads, while training

    @classmethod
    def of(cls, values: dict[str, Any]) -> NetConfig:
        """From what `to_dict` gave."""
        rest = dict(values)
        sizes = dict(rest.pop("ear"))
        encoder = CausalEncoderConfig(ema_positions=tuple(sizes.pop("fading")), **sizes)
        return cls(**{**rest, "hidden": tuple(rest["hidden"]), "encoder": encoder})

    def to_dict(self) -> dict[str, Any]:
        """For a file, under the names that its first version had (`model`): `ear`, `fading`."""
        values = asdict(self)
        sizes = values.pop("encoder")
        fading = sizes.pop("ema_positions")
        return {**values, "ear": {**sizes, "fading": fading}}

    @property
    def n_mels(self) -> int:
        return self.encoder.n_mels

    @property
    def n_raw(self) -> int:
        """Values per frame out of `features`."""
        return self.n_mels + self.n_lags

    @property
    def n_encoded(self) -> int:
        """Values per step out of `encode`: the encoder's, voicing, pitch, loudness."""
        return self.encoder.width + 3

    @property
    def n_stats(self) -> int:
        """Values per step into the heads: means, deviations, distance from the session; for how long."""
        return 3 * self.n_encoded + 1

    @property
    def n_sums(self) -> int:
        """A running sum of what was encoded, of its square, and the count."""
        return 2 * self.n_encoded + 1

    @property
    def slow_size(self) -> int:
        """State that outlives a span: the sums of power and frames, and those of the session."""
        return 2 + self.n_sums

    @property
    def cache_sizes(self) -> tuple[int, ...]:
        """State of one span: the encoder's, and the span's sums."""
        return (sum(self.encoder.cache_sizes), self.n_sums)

    @property
    def voice_size(self) -> int:
        """Of an embedding of the voice: means and deviations of what was encoded."""
        return 2 * self.n_encoded

    @property
    def n_hidden(self) -> int:
        """Values of the heads' last hidden layers together; an embedding of the emotion is a mean of these."""
        return self.n_heads * self.hidden[1]

    def embedding_size(self, kind: Embedding) -> int:
        return self.n_hidden if kind == "emotion" else self.voice_size

    @property
    def state_size(self) -> int:
        return self.slow_size + sum(self.cache_sizes)
