"""Embeddings: given when asked for, whatever the cuts; an utterance's is the weighted mean of its windows'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.models.compact.model import Compact, load
from stream.offline import run
from stream.session import StreamConfig
from stream.types import SAMPLE_RATE, Floats, FrameScores, UtteranceScored, Window, samples_for
from stream.utterance import Utterance

DEMO = Path(__file__).parents[2] / "demo" / "conversation.wav"


def demo_speech() -> Floats:
    samples, rate = soundfile.read(DEMO, dtype="float32", frames=10 * SAMPLE_RATE)
    assert rate == SAMPLE_RATE
    return np.ascontiguousarray(samples)


@pytest.fixture(scope="module")
def compact() -> Compact:
    return load("cpu")


def heard(model: Compact, cuts: list[int], embed: bool = True) -> Utterance:
    """What is heard of the demo's first frames, scored in windows of these lengths."""
    samples, whole, state, at = demo_speech(), Utterance(), None, 0
    for n in cuts:
        piece = samples[at * 160 : at * 160 + samples_for(n)]
        (scores,) = model.score([Window("x", at, n, at == 0, piece, state, embed=embed)])
        whole.add(scores)
        state, at = scores.state, at + n
    return whole


def test_an_embedding_does_not_depend_on_the_cuts(compact: Compact) -> None:
    one, many = heard(compact, [120]).embedding, heard(compact, [10] * 5 + [20, 50]).embedding
    assert one is not None and many is not None
    assert one.shape == (compact.spec.embedding_size,) and one.dtype == np.float32
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_last_window_that_fills_no_group_counts_its_own_frames_alone(compact: Compact) -> None:
    one, many = heard(compact, [53]).embedding, heard(compact, [50, 3]).embedding
    np.testing.assert_allclose(one, many, atol=1e-5)  # type: ignore[arg-type]


def test_none_is_given_unasked(compact: Compact) -> None:
    assert heard(compact, [50], embed=False).embedding is None


def test_an_utterance_weighs_its_windows() -> None:
    whole, logits = Utterance(), np.zeros((2, 9), np.float32)
    for weight, value in ((1.0, 1.0), (3.0, 5.0)):
        weights = np.full(2, weight, np.float32)
        whole.add(FrameScores(logits, weights, None, np.array([value, 0], np.float32)))
    np.testing.assert_allclose(whole.embedding, [4, 0])  # type: ignore[arg-type]


def test_utterances_of_a_session_carry_them_when_asked(compact: Compact) -> None:
    for embed in (True, False):
        config = StreamConfig(embed=embed)
        verdicts = [e for e in run([demo_speech()], compact, config) if isinstance(e, UtteranceScored)]
        assert verdicts and all((v.embedding is not None) == embed for v in verdicts)
