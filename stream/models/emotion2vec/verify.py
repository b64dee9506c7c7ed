"""Known scores of known clips: is this the model that it says it is, and is it run as its authors run it?

Two comparisons: with funasr's own class on the same weights and clip, and with scores that were published.
The first says that our forward pass is right; the second that the weights and tokens are the ones meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from stream.codec import Resampler
from stream.full_recording import score_recording
from stream.types import HOP, LABELS, Floats

CLIP = Path("example") / "test.wav"  # comes with the weights
OWN_TOLERANCE = 1e-4  # ours in float32 against funasr's
PUBLISHED_TOLERANCE = 5e-3  # other versions of torch, other processors, the clip resampled or not

# https://github.com/ddlBoJack/emotion2vec/issues/88: plus_large on its own example/test.wav
PUBLISHED: dict[str, dict[str, float]] = {
    "emotion2vec_plus_large": {
        "angry": 0.003793, "disgusted": 0.000550, "fearful": 0.000867, "happy": 0.121792, "neutral": 0.000224,
        "other": 0.000007, "sad": 0.868382, "surprised": 0.004384, "unknown": 2.4e-7,
    },
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """`scores` (9,) beside `wanted` (9,); where they come from, and how far apart they may be."""

    source: str
    scores: Floats
    wanted: Floats
    tolerance: float

    @property
    def apart(self) -> float:
        return float(np.abs(self.scores - self.wanted).max())

    @property
    def holds(self) -> bool:
        return self.apart <= self.tolerance and int(self.scores.argmax()) == int(self.wanted.argmax())


@dataclass(frozen=True, eq=False)
class Report:
    """What `verify-model` has found of one model and one clip."""

    model: str
    clip: str
    license: str
    scores: Floats
    comparisons: list[Comparison]
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(comparison.holds for comparison in self.comparisons)

    def lines(self) -> list[str]:
        """For people: a table, a verdict per comparison, what to know."""
        names = ["ours", *(c.source for c in self.comparisons)]
        rows = ["label      " + "".join(f"{name:>14}" for name in names)]
        for i, label in enumerate(LABELS):
            cells = [self.scores[i], *(c.wanted[i] for c in self.comparisons)]
            rows.append(f"{label:11}" + "".join(f"{cell:14.6f}" for cell in cells))
        verdicts = [
            f"{'ok' if c.holds else 'NO'}  {c.source}: differs by {c.apart:.2g} at most, allowed {c.tolerance:.0e}"
            for c in self.comparisons
        ]
        return [
            f"{self.model} on {self.clip}",
            *rows,
            *verdicts,
            *self.notes,
            f"license of the weights: {self.license}",
        ]


def compare(scores: Floats, model: str, clip: Path) -> Comparison | None:
    """With what was published for this model's own clip; None where nothing was."""
    table = PUBLISHED.get(model)
    if table is None or clip.parts[-2:] != CLIP.parts:
        return None
    wanted = np.array([table[label] for label in LABELS], np.float32)
    return Comparison("published", scores, wanted, PUBLISHED_TOLERANCE)


def verify(name: str, clip: Path | None = None, device: str = "auto", hub: str = "modelscope") -> Report:
    """Score `clip` (None: the one beside the weights) in float32 and compare.

    Raises what `load` raises; FileNotFoundError without a clip; ValueError, soundfile.SoundFileError for a
    bad one.
    """
    import torch

    from stream.models.emotion2vec import load
    from stream.models.emotion2vec.adapter import Options
    from stream.models.emotion2vec.checkpoint import load_module
    from stream.models.emotion2vec.hub import resolve

    options = Options(hub=hub)  # type: ignore[arg-type]  # checked by `resolve`
    folder = resolve(name, options.hub)
    clip = clip or folder / CLIP
    if not clip.is_file():
        raise FileNotFoundError(f"{clip}: no such clip; give one, or fetch the folder's example/ too")
    model = load(name, device, options)
    samples = np.concatenate(list(blocks_of(clip)))
    utterance = score_recording([samples], model)
    if not utterance.n_frames:
        raise ValueError(f"{clip}: less than 25 ms of sound has no emotion")
    ours = utterance.probs()
    comparisons: list[Comparison] = []
    notes: list[str] = []
    if len(samples) <= model.spec.recording_frames * HOP:
        module, tokens = load_module(folder)
        source = torch.from_numpy(samples)[None]
        with torch.inference_mode():
            if module.cfg.normalize:
                source = torch.nn.functional.layer_norm(source, source.shape[1:])
            heads = module.proj(module.extract_features(source, padding_mask=None)["x"].mean(1))[0]
        rows = [row for row in tokens.rows if row is not None]
        said = torch.softmax(heads[rows], -1).numpy()
        theirs = np.zeros(len(LABELS), np.float32)
        theirs[[i for i, row in enumerate(tokens.rows) if row is not None]] = said
        comparisons.append(Comparison("funasr", ours, theirs, OWN_TOLERANCE))
    else:
        notes.append("the clip is scored in segments: not compared with funasr, which scores it at once")
    if published := compare(ours, folder.name, clip):
        comparisons.append(published)
    else:
        notes.append(f"no published scores are known for {folder.name} on this clip")
    if model.tokens.note:
        notes.append(model.tokens.note)
    return Report(folder.name, str(clip), model.license, ours, comparisons, notes)


def blocks_of(path: Path) -> Iterator[Floats]:
    """A file's samples at 16 kHz, mono, a second at a time."""
    with soundfile.SoundFile(path) as file:
        resampler, rate = Resampler(), file.samplerate
        for block in file.blocks(rate, dtype="float32", always_2d=True):
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
            yield resampler.push(np.ascontiguousarray(mono), rate)
        yield resampler.finish()
