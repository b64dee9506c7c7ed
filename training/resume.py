"""Going on where an interrupted fit stopped: the state of everything that changes, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SAVE_EVERY = 100  # steps


def restore(kept: Path, parts: dict[str, Any], device: torch.device) -> int:
    """Set `parts` to what `kept` holds, where it is there; how many steps were done."""
    if not kept.exists():
        return 0
    saved = torch.load(kept, map_location=device, weights_only=True)
    done = int(saved.pop("done"))
    for name, values in saved.items():
        parts[name].load_state_dict(values)
    return done


def keep(kept: Path, parts: dict[str, Any], step: int, steps: int) -> None:
    """Save `parts` after `step` of `steps`: every SAVE_EVERY, and at the end."""
    if step % SAVE_EVERY == 0 or step == steps:
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save({"done": step, **states}, kept)
