"""Models by name. A loader imports what its model needs, and only then."""

from __future__ import annotations

from collections.abc import Callable

from stream.types import EmotionModel

Loader = Callable[[str], EmotionModel]


def _compact(device: str) -> EmotionModel:
    from stream.models.compact import load

    return load(device)


def _fake(device: str) -> EmotionModel:
    from stream.models.fake import FakeModel

    return FakeModel()


LOADERS: dict[str, Loader] = {"compact": _compact, "fake": _fake}
ABOUT = {
    "compact": "the embedded model: small, causal, runs anywhere (models/compact/CARD.md)",
    "fake": "computable by hand, for tests: its scores mean nothing",
}


def load_model(name: str, device: str = "auto") -> EmotionModel:
    """Load the model called `name` onto `device` (`auto`, `cpu`, `cuda` or `cuda:N`).

    Raises ValueError for a name or device that does not exist.
    """
    if name not in LOADERS:
        raise ValueError(f"no model is called {name!r}; there are: {', '.join(LOADERS)}")
    return LOADERS[name](device)
