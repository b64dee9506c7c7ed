"""Embeddings: given when asked for, whatever the cuts; an utterance's is the weighted mean of its windows'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.models.compact.model import Compact, load
from stream.models.registry import load_model
from stream.offline import run
from stream.session import StreamConfig
from stream.types import (
    SAMPLE_RATE,
    ClassifiesEmbeddings,
    EmotionModel,
    Floats,
    FrameScores,
    UtteranceScored,
    Window,
    samples_for,
    softmax,
)
from stream.utterance import Utterance

DEMO = Path(__file__).parents[2] / "demo" / "conversation.wav"


def demo_speech() -> Floats:
    samples, rate = soundfile.read(DEMO, dtype="float32", frames=10 * SAMPLE_RATE)
    assert rate == SAMPLE_RATE
    return np.ascontiguousarray(samples)


@pytest.fixture(scope="module")
def compact() -> Compact:
    return load("cpu")


def heard(model: EmotionModel, cuts: list[int], embed: bool = True) -> Utterance:
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


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
@pytest.mark.parametrize("cuts", [[120], [10] * 5 + [20, 53], [3]])
def test_one_that_follows_the_emotion_says_exactly_what_its_speech_does(
    runtime: str, cuts: list[int]
) -> None:
    model = load_model("compact", "cpu", {"runtime": runtime, "prior": "conversation"}, 1)
    speech = heard(model, cuts)
    assert isinstance(model, ClassifiesEmbeddings) and speech.embedding is not None
    np.testing.assert_allclose(softmax(model.classify(speech.embedding)), speech.probs(), atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_one_of_the_voice_is_another_and_says_nearly_so(runtime: str) -> None:
    model = load_model("compact", "cpu", {"runtime": runtime, "embedding": "voice"}, 1)
    other = load_model("compact", "cpu", {"runtime": runtime}, 1)
    one, many = heard(model, [120]), heard(model, [10] * 5 + [20, 50])
    assert isinstance(model, ClassifiesEmbeddings) and one.embedding is not None
    np.testing.assert_allclose(one.embedding, many.embedding, atol=1e-5)  # type: ignore[arg-type]
    assert model.spec.embedding_size == len(one.embedding) != other.spec.embedding_size
    assert model.spec.fingerprint != other.spec.fingerprint, "embeddings of the two are never compared"
    apart = np.abs(softmax(model.classify(one.embedding)) - one.probs()).max()
    assert 1e-5 < apart < 0.2, "it holds no comparison with the rest of its session"


def test_there_are_two_kinds() -> None:
    with pytest.raises(ValueError, match=r"model\.embedding 'face': not one of emotion, voice"):
        load_model("compact", "cpu", {"embedding": "face"})


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
