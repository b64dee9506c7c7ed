"""Every way to write audio down gives the scores of the samples it holds, read here by other libraries."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from stream.types import EmotionModel
from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, base64_of
from tests.server.live.test_scores import from_file, streamed

Connect = Callable[..., Client]

SUBTYPES = {"pcm_s16le": "PCM_16", "pcm_f32le": "FLOAT", "mulaw": "ULAW", "alaw": "ALAW"}
ODD = 4_801  # bytes: whole samples of nothing


@pytest.fixture(scope="module")
def speech(demo_samples: np.ndarray) -> np.ndarray:
    """Four seconds, of which three are speech."""
    return demo_samples[: 4 * 16_000]


def written(samples: np.ndarray, rate: int, encoding: str) -> tuple[bytes, np.ndarray]:
    """Samples (n,) or (n, 2) as bytes of `encoding`; and as 16 kHz mono, read from these bytes."""
    how: dict[str, Any] = {"format": "RAW", "subtype": SUBTYPES[encoding], "endian": "LITTLE"}
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    file.seek(0)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    read, _ = soundfile.read(file, dtype="float32", samplerate=rate, channels=channels, **how)
    return file.getvalue(), at_16_khz(read, rate)


def at_16_khz(samples: np.ndarray, rate: int) -> np.ndarray:
    mono = samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)
    return np.asarray(soxr.resample(mono, rate, 16_000, quality="HQ"), np.float32)


def both_channels(samples: np.ndarray) -> np.ndarray:
    return np.stack([samples, 0.5 * samples[::-1]], axis=1)


@pytest.mark.parametrize("encoding", SUBTYPES)
def test_scores_are_those_of_the_samples(
    compact: Server, connect: Connect, speech: np.ndarray, model: EmotionModel, encoding: str
) -> None:
    data, samples = written(speech, 16_000, encoding)
    book = streamed(connect(compact), data, cut=ODD, encoding=encoding)
    ledger.same(book, from_file(samples, model))


@pytest.mark.parametrize(
    ("encoding", "rate"), [("mulaw", 8_000), ("pcm_s16le", 44_100), ("pcm_f32le", 48_000)]
)
def test_rates_give_the_scores_of_the_resampled_samples(
    compact: Server, connect: Connect, speech: np.ndarray, model: EmotionModel, encoding: str, rate: int
) -> None:
    data, samples = written(soxr.resample(speech, 16_000, rate), rate, encoding)
    start = {"encoding": encoding, "sample_rate": rate}
    ledger.same(streamed(connect(compact), data, cut=ODD, **start), from_file(samples, model))


@pytest.mark.parametrize(("subtype", "rate"), [("PCM_16", 48_000), ("FLOAT", 44_100), ("ULAW", 8_000)])
def test_a_wav_is_read_by_its_own_header(
    compact: Server,
    connect: Connect,
    speech: np.ndarray,
    model: EmotionModel,
    subtype: str,
    rate: int,
) -> None:
    file = io.BytesIO()
    soundfile.write(file, both_channels(soxr.resample(speech, 16_000, rate)), rate, subtype, format="WAV")
    file.seek(0)
    read, _ = soundfile.read(file, dtype="float32")
    expected = from_file(at_16_khz(read, rate), model)
    client = connect(compact)
    ledger.same(streamed(client, file.getvalue(), cut=ODD, encoding="wav"), expected)
    ledger.same(streamed(client, file.getvalue(), cut=ODD), expected)  # undeclared: found by its RIFF


def test_base64_and_binary_are_the_same_audio(
    compact: Server, connect: Connect, demo_pcm: bytes, speech: np.ndarray, model: EmotionModel
) -> None:
    client = connect(compact)
    session_id = client.start()["session_id"]
    for at in range(0, 2 * len(speech), ODD):  # in turns
        piece = demo_pcm[at : min(at + ODD, 2 * len(speech))]
        client.send("audio_stream", {"chunk": piece if at // ODD % 2 else base64_of(piece)})
    client.stop()
    ledger.same(ledger.of_client(client.heard, session_id), from_file(speech, model))


def test_the_rate_may_be_said_with_the_chunk_instead(
    server: Server, connect: Connect, speech: np.ndarray
) -> None:
    from stream.models.fake import FakeModel

    data, samples = written(soxr.resample(speech, 16_000, 44_100), 44_100, "pcm_s16le")
    client = connect(server)
    session_id = client.start()["session_id"]
    client.speak(data, cut=ODD, sample_rate=44_100)
    client.stop()
    ledger.same(ledger.of_client(client.heard, session_id), from_file(samples, FakeModel()))
