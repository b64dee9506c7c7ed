"""The teacher and its pupil: Whisper's numbers, the same frames for both, lessons that come again, progress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")
pytest.importorskip("librosa", reason="the recipe needs librosa")

import torch
from torch import Tensor
from torch.nn import functional as F

from stream.models.compact.encoder import CausalEncoder
from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import GROUP, CausalEncoderConfig, NetConfig
from stream.types import SAMPLE_RATE, Floats
from training.corpus import TrainingClip
from training.distil import DistilConfig, Lessons, Measure, distil, halves, mels_from, transplant
from training.prepare import Version
from training.teacher import FRAMES, WIDTH, Teacher

SMALL = NetConfig(encoder=CausalEncoderConfig(width=24, n_heads=2, n_layers=1), n_heads=1, hidden=(8, 8))


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    torch.set_num_threads(1)
    return Teacher()


def glide(seconds: float, f0: float = 140.0) -> Floats:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(f0 * (1 + 0.2 * np.sin(3 * t))) / SAMPLE_RATE
    return np.asarray(0.1 * sum(np.sin(k * phase) / k for k in range(1, 15)) * np.sin(4 * t) ** 2, np.float32)


def test_the_teacher_is_whispers_encoder(teacher: Teacher) -> None:
    """Against transformers' own class with the same weights, up to the layers that the file holds."""
    whisper = pytest.importorskip(
        "transformers.models.whisper.modeling_whisper", reason="the oracle of Whisper"
    )
    config = pytest.importorskip("transformers").WhisperConfig(
        d_model=WIDTH, encoder_layers=2, encoder_attention_heads=6, encoder_ffn_dim=4 * WIDTH, num_mel_bins=80,
        max_source_positions=400,
    )  # fmt: skip
    theirs = whisper.WhisperEncoder(config).eval()
    w, names = teacher.weights, {"out": "self_attn.out_proj", "wide": "fc1", "narrow": "fc2"}
    names |= {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
    state = {"embed_positions.weight": w["positions"]}
    for of in ("weight", "bias"):
        state |= {f"{conv}.{of}": w[f"{conv}/{of}"] for conv in ("conv1", "conv2")}
        for k in range(2):
            state |= {f"layers.{k}.{their}.{of}": w[f"{k}/{our}/{of}"] for our, their in names.items()}
            q, key, value = w[f"{k}/qkv/{of}"].chunk(3)
            state |= {
                f"layers.{k}.self_attn.{x}_proj.{of}": y for x, y in zip("qkv", (q, key, value), strict=True)
            }
            assert of == "weight" or not key.any(), "Whisper's keys have no bias"
    missing = theirs.load_state_dict(state, strict=False)
    assert {name.split(".")[0] for name in missing.missing_keys} == {"layer_norm"}
    assert set(missing.unexpected_keys) == {
        "layers.0.self_attn.k_proj.bias",
        "layers.1.self_attn.k_proj.bias",
    }
    theirs.layer_norm = torch.nn.Identity()
    mels = teacher._log_mel(torch.from_numpy(glide(8.0)))
    with torch.inference_mode():
        wanted = theirs(mels[None]).last_hidden_state[0]
        torch.testing.assert_close(teacher._layers(mels), wanted, atol=2e-4, rtol=1e-3)


def test_a_step_of_the_teacher_is_five_of_our_frames(teacher: Teacher) -> None:
    for seconds, frames in ((0.01, 1), (0.3, 28), (1.0, 98), (1.075, 106)):
        assert teacher.steps(glide(seconds)).shape == (-(-frames // FRAMES), WIDTH)
    x = np.zeros(2 * SAMPLE_RATE, np.float32)
    x[SAMPLE_RATE] = 0.5  # frames 98 and 99 have it in their middles
    moved = np.abs(np.diff(teacher.steps(x), axis=0)).sum(1)
    assert int(moved.argmax()) in (18, 19, 20)


def test_the_pupil_begins_with_what_the_teacher_knows(teacher: Teacher) -> None:
    """Both convolutions: the same numbers out of the same mels."""
    encoder = CausalEncoder(CausalEncoderConfig())
    transplant(encoder, teacher)
    rng = np.random.default_rng(0)
    mels = torch.from_numpy(rng.normal(0, 2, (1, 40, 64)).astype(np.float32))
    theirs = ((mels / np.log(10) - 1).clamp(min=-6.6) + 4) / 4 @ mels_from(64).T
    w = teacher.weights
    with torch.inference_mode():
        ours, _ = encoder.convolve(mels, torch.zeros(1, 40, 1), torch.zeros(1, 128), torch.zeros(1, WIDTH))
        x = F.gelu(F.conv1d(theirs.transpose(1, 2)[..., 1:], w["conv1/weight"], w["conv1/bias"]))
        x = F.gelu(F.conv1d(x, w["conv2/weight"], w["conv2/bias"], stride=2))[0].T
    # Without padding the teacher's first position sees the frames 1 to 5, and so does our third.
    torch.testing.assert_close(ours[0, 2:] - encoder.origin, x, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def versions() -> list[Version]:
    """Clips whose teacher is a linear map of the mels: learnable at once."""
    rng = np.random.default_rng(0)
    clips = [TrainingClip(Path(str(i)), "emodb", f"emodb/{i % 5}", 0, "train") for i in range(40)]
    lengths = rng.integers(60, 140, len(clips))
    ends = np.cumsum(lengths)
    frames = rng.normal(-4, 1, (int(ends[-1]), SMALL.n_raw)).astype(np.float16)
    bounds = np.stack([ends - lengths, ends], 1)
    speech = np.stack([np.zeros_like(lengths), lengths], 1)
    matrix = rng.normal(0, 1, (64, 24)) / 8
    taught = [
        (frames[a : a + (b - a) // FRAMES * FRAMES, :64].reshape(-1, FRAMES, 64).mean(1) @ matrix)
        for a, b in bounds
    ]
    counts = np.cumsum([len(part) for part in taught])
    taught_bounds = np.stack([counts - [len(part) for part in taught], counts], 1)
    version = Version(clips, frames, bounds, speech, np.concatenate(taught).astype(np.float16), taught_bounds)
    return [version, version]


def test_a_lesson_has_a_number_and_is_always_the_same(versions: list[Version]) -> None:
    config = DistilConfig(batch=8, longest=100)
    first, second = (Lessons(versions, range(0, 40, 2), config) for _ in range(2))
    first.batch(1, 64)
    for one, again in zip(first.batch(7, 64), second.batch(7, 64), strict=True):
        assert torch.equal(one, again)
    mels, targets, there = first.batch(9, 64)
    assert mels.shape[1] % GROUP == 0 and targets.shape[1] == mels.shape[1] // FRAMES == there.shape[1]
    assert there.sum(1).min() > 0 and torch.isfinite(mels).all()


def test_pupil_and_teacher_mean_the_same_frames(versions: list[Version]) -> None:
    """A pupil that echoes the mels' mean per half chunk would be told so: no step is off by one."""
    lessons = Lessons(versions, range(40), DistilConfig(batch=6, longest=100, color=0.0))
    mels, targets, there = lessons.batch(3, 64)
    echo = mels.view(6, -1, FRAMES, 64).mean(2)
    solved = torch.linalg.lstsq(echo[there > 0], targets[there > 0]).solution
    assert (echo[there > 0] @ solved - targets[there > 0]).abs().max() < 0.02


def test_the_pupil_learns_and_goes_on_where_it_was(versions: list[Version], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = DistilConfig(steps=40, batch=12, shortest=40, longest=80, peak_rate=1e-2)
    lessons, measure = Lessons(versions, range(40), config), Measure(versions[0], range(40), 1)

    def distance(net: CompactNet) -> float:
        mels, wanted, there = lessons.batch(1000, 64)
        with torch.inference_mode():
            apart: Tensor = measure.apart(halves(net, mels), wanted, there)[0]
        return float(apart)

    def pupil(kept: Path) -> CompactNet:
        torch.manual_seed(0)
        net = CompactNet(SMALL)
        distil(net, versions, range(40), config, kept)
        return net

    torch.manual_seed(0)
    before = distance(CompactNet(SMALL))
    net = pupil(tmp_path / "one.pt")
    assert distance(net) < 0.7 * before
    again = pupil(tmp_path / "one.pt")  # done already
    for name, values in net.encoder.state_dict().items():
        assert torch.equal(values, again.encoder.state_dict()[name]), name
