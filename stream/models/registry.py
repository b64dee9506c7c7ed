"""Models by name. A loader imports what its model needs, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream import fingerprint
from stream.models import compact, emotion2vec
from stream.models.compact.files import are_in
from stream.types import EmotionModel

_FETCHED = "emotion2vec+ through funasr, its weights fetched from a hub (docs/emotion2vec.md)"
ABOUT = {
    "compact": "the embedded model: small, causal, runs anywhere (weights/compact/CARD.md)",
    **dict.fromkeys(emotion2vec.NAMES, _FETCHED),
    "fake": "computable by hand, for tests: its scores mean nothing",
}


def load_model(
    name: str, device: str = "auto", options: Mapping[str, Any] | None = None, threads: int | None = None
) -> EmotionModel:
    """Load a model by its name in ABOUT, or by its folder: an emotion2vec checkpoint, or weights of compact that
    `./run.sh train` has made.

    `device`: `auto`, `cpu`, `cuda` or `cuda:N`. `options` are those of `stream.models.emotion2vec.adapter`, of
    which `compact` knows `precision` and `prior` alone, and `runtime` and `embedding`, its own.
    `threads`: how many this process computes with from now on; None leaves that as it is.

    Raises ValueError for a name, device, folder, precision or runtime that cannot be used, ImportError and OSError
    for libraries and weights that cannot be had; the text says what to do.
    """
    model = _load(name, device, options, threads)
    shown = model.score([fingerprint.window(model.spec)])[0].embedding
    model.spec = replace(model.spec, fingerprint=fingerprint.text(shown))
    return model


def _load(name: str, device: str, options: Mapping[str, Any] | None, threads: int | None) -> EmotionModel:
    if name == "fake":
        from stream.models.fake import FakeModel

        return FakeModel()
    if name != "compact" and name not in emotion2vec.NAMES and not Path(name).expanduser().is_dir():
        raise ValueError(f"no model, and no folder, is called {name!r}; models: {', '.join(ABOUT)}")
    rest = dict(options or {})
    runtime = rest.pop("runtime", "auto")
    folder = Path(name).expanduser()
    if name == "compact" or (name not in emotion2vec.NAMES and are_in(folder)):
        own: dict[str, Any] = {
            name: rest[name] for name in ("precision", "prior", "embedding") if name in rest
        }
        if name != "compact":
            own["folder"] = folder
        return compact.load(device, runtime=runtime, threads=threads, **own)
    if runtime == "onnx":
        raise ValueError(f"{name} runs with torch alone; set model.runtime to auto")
    rest.pop("embedding", None)  # emotion2vec has one kind
    return emotion2vec.load(name, device, rest, threads)
