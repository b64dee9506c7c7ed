"""Folders with emotion2vec's real architecture and random weights, built through funasr's own class.

For tests (small) and for benchmarks (base and large at full size): what such a model says means nothing. The sizes
of `base` and `large` are those of emotion2vec+ base and large: 768 and 1024 wide, 8 + 4 blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TOKENS = (
    "生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral",
    "其他/other", "难过/sad", "吃惊/surprised", "<unk>",
)  # fmt: skip
OLD_TOKENS = ("angry", "unuse_0", "unuse_1", "happy", "neutral", "unuse_2", "sad", "unuse_3", "<unk>")


@dataclass(frozen=True)
class Size:
    width: int
    heads: int
    depth: int  # blocks of the main encoder
    prenet: int  # blocks of the context encoder before it
    channels: int  # of the convolution stack
    groups: int  # of the positional convolutions


SIZES = {
    "small": Size(width=64, heads=4, depth=2, prenet=1, channels=32, groups=4),
    "base": Size(width=768, heads=12, depth=8, prenet=4, channels=512, groups=16),
    "large": Size(width=1024, heads=16, depth=8, prenet=4, channels=512, groups=16),
}


def make_folder(folder: Path, size: str, seed: int = 0, head_gain: float = 1.0) -> Path:
    """Write config.yaml, model.pt and tokens.txt into `folder` and return it.

    `head_gain` multiplies the head's weights: a random head says nearly the same of every sound, which would let a
    comparison of scores pass too easily.
    """
    import torch

    from stream.models.emotion2vec.funasr_shim import import_class

    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(SIZES[size])
    torch.manual_seed(seed)
    module = import_class()(model_conf=config["model_conf"], vocab_size=len(TOKENS))
    with torch.no_grad():
        assert module.proj is not None
        module.proj.weight.mul_(head_gain)
        audio = module.modality_encoders["AUDIO"]
        audio.alibi_scale.uniform_(0.5, 1.5)  # learned, so not 1 in a trained model either
        audio.extra_tokens.normal_(0, 0.5)
    state = {f"d2v_model.{name}": value for name, value in module.state_dict().items()}
    torch.save(
        {"model": {name: v for name, v in state.items() if ".decoder." not in name}}, folder / "model.pt"
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return folder


def config_of(size: Size) -> dict[str, Any]:
    """config.yaml as funasr reads it: every key that its class asks for."""
    c = size.channels
    audio = {
        "type": "AUDIO",
        "prenet_depth": size.prenet, "prenet_layerdrop": 0.05, "prenet_dropout": 0.1,
        "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0,
        "num_extra_tokens": 10, "init_extra_token_zero": True,
        "mask_prob": 0.5, "mask_prob_min": None, "mask_length": 5, "inverse_mask": False, "mask_noise_std": 0.01,
        "mask_dropout": 0.0, "add_masks": False, "encoder_zero_mask": True,
        "mask_channel_prob": 0.0, "mask_channel_length": 64, "local_grad_mult": 1.0,
        "use_alibi_encoder": True, "alibi_scale": 1.0, "learned_alibi": False, "alibi_max_pos": None,
        "learned_alibi_scale": True, "learned_alibi_scale_per_head": True, "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": size.heads, "model_depth": size.depth,
        "decoder": {
            "decoder_dim": 4 * size.groups, "decoder_groups": size.groups,
            "decoder_kernel": 7, "decoder_layers": 4,
            "input_dropout": 0.1, "add_positions_masked": False, "add_positions_all": False,
            "decoder_residual": True, "projection_layers": 1, "projection_ratio": 2.0,
        },
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": f"[({c}, 10, 5)] + [({c}, 3, 2)] * 4 + [({c},2,2)] + [({c},2,2)]",
        "conv_pos_width": 95, "conv_pos_groups": size.groups, "conv_pos_depth": 5, "conv_pos_pre_ln": False,
    }  # fmt: skip
    model = {
        "loss_beta": 0.0, "loss_scale": None, "depth": size.depth,
        "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "num_heads": size.heads,
        "norm_eps": 1.0e-05, "norm_affine": True, "encoder_dropout": 0.1, "post_mlp_drop": 0.1,
        "attention_dropout": 0.1, "activation_dropout": 0.0, "dropout_input": 0.0, "layerdrop": 0.05,
        "embed_dim": size.width, "mlp_ratio": 4.0, "layer_norm_first": False, "average_top_k_layers": size.depth,
        "end_of_block_targets": False, "clone_batch": 8, "normalize": True, "modalities": {"audio": audio},
    }  # fmt: skip
    return {
        "model": "Emotion2vec",
        "model_conf": model,
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "scope_map": ["d2v_model.", "none"],
    }
