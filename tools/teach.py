"""`tools teach`: a folder per label → a classifier on disk that REST, the live server and `analyze` can use.

In each label's folder: recordings, at any depth, which are heard by the model that is set; or outputs with an
embedding, of the same model. The folder beside a recording counts as its speaker, call or day: see `few_shot`.
Or a folder of results with a `labels.json`, which the board writes: then those that have a label are the clips.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server import custom_labels
from server.config import Config
from server.engine import Engine
from server.errors import ClientError
from server.files import find
from server.files.recognize import RecognizeOptions
from server.storage import replaced_folder
from stream.custom_labels import MAX_LABELS, CustomLabels
from stream.types import Floats
from tools import few_shot, folder
from tools import labels as labels_file
from tools.analyze.batch import look
from tools.analyze.journal import shown
from tools.embedding import BadEmbedding
from tools.embedding import load as load_embedding
from tools.few_shot import FEW, BadExamples, CrossValidation, Examples
from tools.items import Broken
from tools.vectors import Vectors, vectors

NAME = re.compile(r"[\w][\w .-]{0,63}")


@dataclass(frozen=True, eq=False)
class Gathered:
    examples: Examples
    broken: tuple[Broken, ...]
    silent: int  # clips without speech
    doubles: int  # clips that are in the folder twice


@dataclass(frozen=True, eq=False)
class FittedLabels:
    """Custom labels, and how good they will be."""

    labels: CustomLabels
    figures: CrossValidation


def gather(
    top: Path, engine: Engine, config: Config, progress: Callable[[str], None] = lambda name: None
) -> Gathered:
    """Embeddings of all clips below `top`, a sub-folder per label, or those of its results that have a label.

    Raises BadExamples, ValueError and OSError.
    """
    if not top.is_dir():
        raise NotADirectoryError(f"{top}: there is no such folder")
    if (top / labels_file.NAME).exists():
        assert engine.spec is not None
        return of_labels(vectors(top, engine.spec.name), labels_file.read(top))
    names = sorted(p.name for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    broken: list[Broken] = []
    clips = (
        (shown(name), clip, found)
        for name in names
        for clip, found in _clips(top / name, engine, config, broken)
    )
    return _gathered(tuple(shown(name) for name in names), clips, broken, progress)


def of_labels(among: Vectors, labels: dict[str, str]) -> Gathered:
    """Embeddings of the results that have a label, by id. Raises BadExamples."""
    which = ((at, labels.get(record.id)) for at, record in enumerate(among.records))
    chosen = [(at, label) for at, label in which if label is not None]
    names = tuple(sorted({label for _, label in chosen}))
    clips = ((label, among.records[at].id, np.array(among.rows[at])) for at, label in chosen)
    return _gathered(names, clips, list(among.broken))


def _gathered(
    labels: tuple[str, ...],
    clips: Iterable[tuple[str, str, Floats | None]],
    broken: list[Broken],
    progress: Callable[[str], None] = lambda name: None,
) -> Gathered:
    """`clips`: label, name and embedding of each; the latter None where nobody speaks. Raises BadExamples."""
    if len(labels) > MAX_LABELS:
        raise BadExamples(f"{len(labels)} labels; at most {MAX_LABELS} can be taught")
    rows: list[Floats] = []
    which: list[int] = []
    beside: list[str] = []
    seen: dict[bytes, int] = {}
    silent = doubles = 0
    for name, clip, found in clips:
        label = labels.index(name)
        progress(f"{name}/{clip}")
        if found is None:
            silent += 1
            continue
        held = found.tobytes()
        if (before := seen.setdefault(held, label)) != label:
            raise BadExamples(f"{name}/{clip} is also in {labels[before]}: a clip has one label")
        if any(np.array_equal(found, row) for row in rows):
            doubles += 1
            continue
        rows.append(found)
        which.append(label)
        # The speaker's folder bears one name under every label (LABEL/SPEAKER/clip): then it is one group.
        beside.append(str(Path(clip).parent))
    sizes = {len(row) for row in rows}
    if len(sizes) > 1:
        raise BadExamples(f"The embeddings have different sizes ({', '.join(map(str, sorted(sizes)))})")
    together = np.stack(rows) if rows else np.empty((0, 1), np.float32)
    groups = few_shot.groups_of(which, beside)
    gathered = Gathered(
        Examples(together, np.array(which, np.int64), labels, groups), tuple(broken), silent, doubles
    )
    few_shot.check(gathered.examples)
    return gathered


def teach(gathered: Gathered, name: str, engine: Engine, seed: int = 0) -> FittedLabels:
    """Raises BadExamples, and pictures.Missing."""
    if not NAME.fullmatch(name):
        raise BadExamples(f"--name {name!r}: letters, digits, '-', '_', '.' and spaces, 64 at most")
    spec = engine.spec
    assert spec is not None
    fingerprint = custom_labels.fingerprint_of(engine, 60)
    if fingerprint is None:
        raise BadExamples(f"The model {spec.name} gives no embeddings, so nothing can be taught to it")
    examples = gathered.examples
    if examples.rows.shape[1] != len(fingerprint):
        raise BadExamples(
            f"The embeddings have {examples.rows.shape[1]} numbers, those of {spec.name} {len(fingerprint)}:"
            " they are another model's"
        )
    figures = few_shot.cross_validate(examples, seed)
    found = few_shot.fit(examples, seed)
    arrays = {"mean": found.mean, "scale": found.scale, "weights": found.weights, "bias": found.bias}
    made = CustomLabels(
        name=name,
        labels=examples.names,
        model=spec.name,
        fingerprint=fingerprint,
        figures=figures.to_json(),
        **arrays,
    )
    return FittedLabels(made, figures)


def save(made: CustomLabels, out: Path, replace: bool = False) -> Path:
    """A folder that holds all of it, or none. Raises FileExistsError."""
    if out.exists() and not replace:
        raise FileExistsError(f"{out} is there already: choose another --name or --out, or --replace it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced_folder(out, out.parent) as draft:
        made.save(draft)
    return out


def _clips(
    top: Path, engine: Engine, config: Config, broken: list[Broken]
) -> Iterator[tuple[str, Floats | None]]:
    """Embeddings of one label's clips by name; None: nobody speaks there."""
    spec = engine.spec
    assert spec is not None
    kept = folder.read(top)
    broken += [Broken(f"{shown(top.name)}/{one.name}", one.why) for one in kept.broken]
    for record in kept.records:
        if record.embedding is None:
            continue
        try:
            if record.model != spec.name:
                raise BadEmbedding(f"of {record.model}; the model that is set is {spec.name}")
            yield record.name, load_embedding(record.embedding)
        except (BadEmbedding, OSError) as wrong:
            broken.append(Broken(f"{shown(top.name)}/{record.name}", str(wrong)))
    held = look(top, top / ".none")
    broken += [Broken(f"{shown(top.name)}/{shown(name)}", why) for name, why in held.errors.items()]
    for name in held.sizes:
        try:
            yield shown(name), embedding_of(top / name, engine, config)
        except ClientError as refused:
            broken.append(Broken(f"{shown(top.name)}/{shown(name)}", refused.message))


def embedding_of(path: Path, engine: Engine, config: Config) -> Floats | None:
    """The embedding of a recording; None where nobody speaks. Raises ClientError."""
    return find.recognize_file(path, engine, config, RecognizeOptions(embed=True)).embedding


def summary(figures: CrossValidation, gathered: Gathered) -> Iterator[str]:
    """For people: what was confused with what, and how far the figure can be relied on."""
    names, clips = figures.names, figures.clips
    wide = max(len(name) for name in names)
    yield f"{'':{wide}}  clips  found  taken for"
    for i, name in enumerate(names):
        wrong = {other: figures.confusion[i, j] / clips[i] for j, other in enumerate(names) if j != i}
        worst = max(wrong, key=lambda other: wrong[other])
        taken_for = f"{worst} ({wrong[worst]:.0%})" if wrong[worst] >= 0.005 else "–"
        yield f"{name:{wide}}  {clips[i]:5.0f}  {figures.confusion[i, i] / clips[i]:5.0%}  {taken_for}"
    yield ""
    yield (
        f"On clips it has not heard: UAR {figures.uar:.2f} ({figures.low:.2f}–{figures.high:.2f}),"
        f" accuracy {figures.accuracy:.2f}; chance is {figures.chance:.2f}."
    )
    if not figures.better_than_chance:
        yield "NO BETTER THAN CHANCE, as far as these clips can tell: do not rely on it. More clips may help."
    if figures.grouped:
        yield "Sub-folders were kept apart: the figure is for voices (calls, days) it has not heard."
    else:
        yield "For more clips of the same voices and places. Sub-folders by speaker would tell of new voices."
    if min(clips) < FEW:
        yield f"With fewer than {FEW} clips of a label the interval is wide: 10 to 20 are better."
    if gathered.silent:
        yield f"{gathered.silent} clips without speech were left out."
    if gathered.doubles:
        yield f"{gathered.doubles} clips were there twice, and count once."


def default_folder(name: str) -> Path:
    from server.paths import HOME

    return HOME / "taught" / name.replace(os.sep, "_")
