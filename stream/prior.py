"""How much of each label is to be expected, before anything is heard. No I/O; models add it to their logits.

Training sees labels evenly, as benchmarks do. Where people talk, most speech is neutral: of the utterances of MELD
47 % are (training part; dialogues of a television series, livelier than life; Poria et al. 2019). `CONVERSATION`
takes half of all speech to be neutral, and the rest to be shared evenly by the seven other labels of speech;
`unknown`, no speech or too little to tell, is as likely as it was.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stream.types import LABELS, N_LABELS, Floats

Weights = Mapping[str, float]
Prior = str | Weights  # a name in PRIORS, or weights by label; 1 where a label is not named

BALANCED, CONVERSATION, CUSTOM = "balanced", "conversation", "custom"
PRIORS: dict[str, Weights] = {BALANCED: {}, CONVERSATION: {"neutral": 7.0}}


def name_of(prior: Prior) -> str:
    """What results call it."""
    return prior if isinstance(prior, str) else CUSTOM


def log_weights(prior: Prior) -> Floats:
    """What is added to logits (N_LABELS,). Raises ValueError for what is no prior."""
    if isinstance(prior, str):
        if prior not in PRIORS:
            known = " or ".join(PRIORS)
            raise ValueError(f"{prior!r} is no prior: give {known}, or weights by label")
        prior = PRIORS[prior]
    if strange := [label for label in prior if label not in LABELS]:
        raise ValueError(f"there is no label {strange[0]!r}; labels: {', '.join(LABELS)}")
    weights = np.ones(N_LABELS)
    for label, weight in prior.items():
        if not 1e-3 <= weight <= 1e3:
            raise ValueError(f"the weight of {label} is not between 0.001 and 1000")
        weights[LABELS.index(label)] = weight
    return np.log(weights).astype(np.float32)
