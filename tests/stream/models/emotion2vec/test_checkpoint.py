"""Loading: no code from a folder runs, and what does not fit is named before anything is served."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.emotion2vec_random import OLD_TOKENS
from stream.full_recording import score_recording
from stream.types import LABELS
from tests.stream.models.emotion2vec.conftest import need_funasr, sound

need_funasr()
torch = pytest.importorskip("torch")

from stream.models.emotion2vec import load  # noqa: E402
from stream.models.emotion2vec.adapter import Options  # noqa: E402
from stream.models.emotion2vec.checkpoint import (  # noqa: E402
    BadCheckpoint,
    UnsafeCheckpoint,
    _layers,
    read_config,
    read_weights,
)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def edit(folder: Path, change: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def weights(folder: Path, change: Any) -> None:
    found = torch.load(folder / "model.pt", weights_only=True)
    change(found["model"])
    torch.save(found, folder / "model.pt")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch looks closer before it refuses
@pytest.mark.parametrize("plain", [False, True])
def test_a_pickled_payload_is_refused_and_does_not_run(copy: Path, tmp_path: Path, plain: bool) -> None:
    trap = tmp_path / "ran"
    found = torch.load(copy / "model.pt", weights_only=True)
    if plain:
        (copy / "model.pt").write_bytes(pickle.dumps({**found, "x": Payload(trap)}))
    else:
        torch.save({**found, "x": Payload(trap)}, copy / "model.pt")
    with pytest.raises(UnsafeCheckpoint, match="allow_pickle"):
        load(str(copy), "cpu")
    assert not trap.exists()


def test_an_operator_may_allow_it(copy: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    torch.save({**torch.load(copy / "model.pt", weights_only=True), "x": Payload(trap)}, copy / "model.pt")
    load(str(copy), "cpu", Options(allow_pickle=True))
    assert trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('ran').touch() or [(32, 10, 5)]",
        "[(32, 10, 5)] * 10 ** 9",
        "[(32, 10, 5)] * 65536",
        "[(32, 10)]",
        "[(32, 10, 5.0)]",
        "[x for x in [(32, 10, 5)]]",
        "32",
        "(((",
    ],
)
def test_code_in_the_config_is_refused_and_does_not_run(
    copy: Path, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    edit(copy, lambda c: c["model_conf"]["modalities"]["audio"].update(feature_encoder_spec=text))
    with pytest.raises(BadCheckpoint, match="feature_encoder_spec"):
        load(str(copy), "cpu")
    assert not (tmp_path / "ran").exists()


def test_the_published_layers() -> None:
    text = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert _layers(text) == [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2


def test_remote_code_in_the_config_is_not_followed(copy: Path, tmp_path: Path) -> None:
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    edit(copy, lambda c: c.update(trust_remote_code=True, remote_code=str(code)))
    load(str(copy), "cpu")
    assert not (tmp_path / "ran").exists()


def test_an_old_tokens_file_is_served_with_five_emotions(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copy / "tokens.txt").write_text("\n".join(OLD_TOKENS) + "\n")
    model = load(str(copy), "cpu")
    assert "only 5 emotions" in caplog.text
    assert model.spec.supported_labels == ("angry", "happy", "neutral", "sad", "unknown")
    probs = score_recording([sound(1)], model).probs()
    assert [label for label, p in zip(LABELS, probs, strict=True) if p > 0] == list(
        model.spec.supported_labels
    )
    assert probs.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda m: m.update({"d2v_model.proj.weight": m["d2v_model.proj.weight"][:5]}),
            "head gives 5 scores",
        ),
        (lambda m: m.pop("d2v_model.proj.weight"), "no head"),
        (lambda m: m.pop("d2v_model.blocks.0.norm1.weight"), "lacks 1 of .* blocks.0.norm1.weight"),
        (lambda m: m["d2v_model.blocks.0.norm1.weight"].fill_(float("nan")), "not finite"),
        (
            lambda m: m.update({"d2v_model.blocks.0.mlp.fc1.weight": torch.zeros(8, 64)}),
            r"fc1.weight is \(8, 64\) in model.pt, \(256, 64\) by config.yaml",
        ),
    ],
)
def test_weights_that_do_not_fit(copy: Path, change: Any, says: str) -> None:
    weights(copy, change)
    with pytest.raises(ValueError, match=says):
        load(str(copy), "cpu")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(model="Paraformer"), "no Emotion2vec"),
        (lambda c: c.pop("model_conf"), "model_conf"),
        (lambda c: c["model_conf"].update(embed_dim=128), "different models"),
        (lambda c: c["model_conf"].update(num_heads=0), "config.yaml"),
        (lambda c: c["model_conf"].update(layer_norm_first=True), "different models|layer_norm_first|lacks"),
        (
            lambda c: c["model_conf"]["modalities"]["audio"].update(
                feature_encoder_spec="[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32,2,2)] + [(32,2,1)]"
            ),
            "25 ms every 20 ms",
        ),
    ],
)
def test_configs_that_do_not_fit(copy: Path, change: Any, says: str) -> None:
    edit(copy, change)
    with pytest.raises(ValueError, match=says):
        load(str(copy), "cpu")


def test_files_that_are_none(copy: Path) -> None:
    (copy / "model.pt").write_bytes(b"no checkpoint")
    with pytest.raises(BadCheckpoint):
        read_weights(copy / "model.pt")
    (copy / "config.yaml").write_text("model: [\n")
    with pytest.raises(BadCheckpoint):
        read_config(copy / "config.yaml")


def test_scope_maps_and_wrappings(copy: Path) -> None:
    """Weights without the prefix, or saved from a parallel module, are found as well."""
    found = torch.load(copy / "model.pt", weights_only=True)["model"]
    before = score_recording([sound(1)], load(str(copy), "cpu")).probs()
    for prefix in ("", "module."):
        torch.save({prefix + n.removeprefix("d2v_model."): v for n, v in found.items()}, copy / "model.pt")
        assert abs(score_recording([sound(1)], load(str(copy), "cpu")).probs() - before).max() < 1e-6


def test_other_architectures_of_the_same_class(tmp_path: Path) -> None:
    """Fewer biased heads, a scale per layer, an extra norm, no extra tokens: the check at load compares them
    all."""
    from bench import emotion2vec_random as random

    plain = random.config_of

    def other(size: random.Size) -> dict[str, Any]:
        config = plain(size)
        config["model_conf"]["modalities"]["audio"].update(
            num_alibi_heads=3, learned_alibi_scale_per_layer=True, learned_alibi_scale_per_head=False,
            conv_pos_pre_ln=True, conv_pos_width=80,
        )  # fmt: skip
        return config

    random.config_of = other
    try:
        random.make_folder(tmp_path / "other", "small")
    finally:
        random.config_of = plain
    assert load(str(tmp_path / "other"), "cpu").spec.embedding_size == 64
