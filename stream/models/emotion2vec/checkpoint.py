"""A folder → funasr's own class with its weights, without running code from any file in it.

funasr's `AutoModel` is not used to load: it evaluates a string of config.yaml as Python, follows
`trust_remote_code` in it, and leaves random numbers where a checkpoint's shapes do not fit. The class itself
is what it builds, and is built here from a checked config.
"""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stream.models.emotion2vec.funasr_shim import import_class
from stream.models.emotion2vec.labels import TokenMap, map_tokens, read_tokens


class BadCheckpoint(ValueError):
    """config.yaml or model.pt cannot be used; the text says what is wrong."""


class UnsafeCheckpoint(BadCheckpoint):
    """model.pt holds more than weights, and the operator did not allow that."""


def load_module(folder: Path, allow_pickle: bool = False) -> tuple[Any, TokenMap]:
    """funasr's `Emotion2vec` in float32 on the CPU, in evaluation mode, and its tokens.

    `allow_pickle` lets model.pt run code of its own when it is read: for files that you made yourself.
    Raises BadCheckpoint, UnsafeCheckpoint, labels.BadTokens, OSError.
    """
    emotion2vec = import_class()
    config = read_config(folder / "config.yaml")
    state = _strip(read_weights(folder / "model.pt", allow_pickle), config.get("scope_map") or [])
    if "proj.weight" not in state:
        raise BadCheckpoint(
            f"{folder}: model.pt has no head (proj.weight): it gives embeddings, not emotions"
        )
    tokens = read_tokens(folder / "tokens.txt")
    mapped = map_tokens(tokens, len(state["proj.weight"]), f"{folder / 'tokens.txt'}")
    try:
        with torch.device("meta"):  # shapes alone: the numbers come from the checkpoint
            module = emotion2vec(model_conf=config["model_conf"], vocab_size=len(tokens))
    except Exception as wrong:  # it asserts, looks up and divides what the config says
        raise BadCheckpoint(f"{folder / 'config.yaml'}: {type(wrong).__name__}: {wrong}") from wrong
    module.modality_encoders["AUDIO"].decoder = None  # for training only
    _fill(module, state, folder)
    return module.eval().requires_grad_(False), mapped


def read_config(path: Path) -> dict[str, Any]:
    """config.yaml, checked to describe an Emotion2vec and to hold no code. Raises BadCheckpoint, OSError."""
    try:
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as broken:
        raise BadCheckpoint(f"{path}: {broken}") from broken
    if not isinstance(config, dict) or config.get("model") != "Emotion2vec":
        raise BadCheckpoint(f"{path}: this is no Emotion2vec model")
    try:
        audio = config["model_conf"]["modalities"]["audio"]
        # funasr's class gives this text to eval(); it gets one that can only be a list.
        audio["feature_encoder_spec"] = str(_layers(str(audio["feature_encoder_spec"])))
        config["model_conf"].setdefault("normalize", False)
    except (KeyError, TypeError) as missing:
        raise BadCheckpoint(f"{path}: {missing} is missing") from None
    return {str(key): value for key, value in config.items()}


def read_weights(path: Path, allow_pickle: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of model.pt by name. Raises UnsafeCheckpoint, BadCheckpoint, OSError."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as refused:
        reason = next(
            (line for line in str(refused).splitlines() if "GLOBAL" in line or "Unsupported" in line), ""
        )
        raise UnsafeCheckpoint(
            f"{path} holds more than weights, and reading it could run code of whoever made it. {reason.strip()} "
            "It was not read. If you made it or trust its maker: model.allow_pickle: true"
        ) from None
    except (RuntimeError, EOFError) as broken:
        raise BadCheckpoint(f"{path}: not a checkpoint of torch: {str(broken).splitlines()[0]}") from None
    for key in ("state_dict", "model_state_dict", "model"):  # the wrappings that funasr knows
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{path}: holds a {type(found).__name__}, not named weights")
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _strip(state: dict[str, torch.Tensor], scope_map: list[Any]) -> dict[str, torch.Tensor]:
    """Names as the class has them: without the prefixes that config.yaml's scope_map takes away."""
    pairs = zip(scope_map[0::2], scope_map[1::2], strict=False)
    prefixes = [str(a) for a, b in pairs if str(b).lower() == "none" and str(a).lower() != "none"]
    named = dict(state)
    for prefix in [*prefixes, "module."]:
        named |= {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    return named


def _fill(module: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Give the module its weights, all of them, of the shapes that config.yaml says. Raises BadCheckpoint."""
    wanted = module.state_dict()
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise BadCheckpoint(
            f"{folder}: model.pt lacks {len(missing)} of {len(wanted)} weights, first {missing[0]}"
        )
    for name, value in wanted.items():
        if value.shape != state[name].shape:
            sizes = f"{tuple(state[name].shape)} in model.pt, {tuple(value.shape)} by config.yaml"
            raise BadCheckpoint(f"{folder}: {name} is {sizes}: the two files are of different models")
        if not torch.isfinite(state[name]).all():
            raise BadCheckpoint(f"{folder}: {name} holds numbers that are not finite")
    module.load_state_dict({name: state[name].float() for name in wanted}, assign=True)


def _layers(text: str) -> list[tuple[int, int, int]]:
    """`[(512, 10, 5)] + [(512, 3, 2)] * 4` → the list it means; nothing but lists, whole numbers, + and *."""

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and type(node.value) is int and 0 < node.value <= 1 << 16:
            return node.value
        if isinstance(node, ast.Tuple):
            return tuple(value(item) for item in node.elts)
        if isinstance(node, ast.List):
            return [value(item) for item in node.elts]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            left, times = value(node.left), value(node.right)
            if isinstance(left, list) and isinstance(times, int) and times <= 64 and len(left) <= 64:
                return left * times
        raise ValueError(ast.unparse(node))

    try:
        layers = value(ast.parse(text.strip(), mode="eval").body)
        if not all(len(layer) == 3 and all(type(n) is int for n in layer) for layer in layers):
            raise ValueError(text)
    except (SyntaxError, ValueError, TypeError) as odd:
        raise BadCheckpoint(
            f"config.yaml: feature_encoder_spec is no list of layers: {text[:120]!r}"
        ) from odd
    return list(layers)
