"""`tools teach`: a folder per label → a classifier on disk that REST, the live server and `analyze` can use.

In each label's folder: recordings, at any depth, which are heard by the model that is set; or outputs with an
embedding, of the same model. The folder beside a recording counts as its speaker, call or day: see `lesson`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server import taught
from server.config import Config
from server.engine import Engine
from server.errors import ClientError
from server.files import find
from server.files.recognize import Wish
from stream.taught import MAX_LABELS, Taught
from stream.types import Floats
from tools import folder, lesson
from tools.analyze.batch import look
from tools.analyze.journal import shown
from tools.embedding import BadEmbedding
from tools.embedding import load as load_embedding
from tools.lesson import BadLesson, Examples, Figures

NAME = re.compile(r"[\w][\w .-]{0,63}")


@dataclass(frozen=True, eq=False)
class Gathered:
    examples: Examples
    broken: tuple[folder.Broken, ...]
    silent: int  # clips without speech
    doubles: int  # clips that are in the folder twice


@dataclass(frozen=True, eq=False)
class Lesson:
    """What was learnt, and how good it will be."""

    taught: Taught
    figures: Figures


def gather(
    top: Path, engine: Engine, config: Config, progress: Callable[[str], None] = lambda name: None
) -> Gathered:
    """Embeddings of all clips below `top`, a sub-folder per label. Raises BadLesson, NotADirectoryError."""
    if not top.is_dir():
        raise NotADirectoryError(f"{top}: there is no such folder")
    names = sorted(p.name for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    labels = tuple(shown(name) for name in names)
    if len(labels) > MAX_LABELS:
        raise BadLesson(f"{len(labels)} labels; at most {MAX_LABELS} can be taught")
    broken: list[folder.Broken] = []
    rows: list[Floats] = []
    which: list[int] = []
    beside: list[str] = []
    seen: dict[bytes, int] = {}
    silent = doubles = 0
    for label, name in enumerate(names):
        for clip, found in _clips(top / name, engine, config, broken):
            progress(f"{labels[label]}/{clip}")
            if found is None:
                silent += 1
                continue
            before = seen.setdefault(found.tobytes(), label)
            if before != label:
                raise BadLesson(f"{labels[label]}/{clip} is also in {labels[before]}: a clip has one label")
            if any(np.array_equal(found, row) for row in rows):
                doubles += 1
                continue
            rows.append(found)
            which.append(label)
            beside.append(f"{name}/{Path(clip).parent}")
    sizes = {len(row) for row in rows}
    if len(sizes) > 1:
        raise BadLesson(f"The embeddings have different sizes ({', '.join(map(str, sorted(sizes)))})")
    together = np.stack(rows) if rows else np.empty((0, 1), np.float32)
    numbers = np.array(which, np.int64)
    # The speaker's folder bears one name under every label (LABEL/SPEAKER/clip): then it is one group.
    groups = lesson.groups_of(which, [one.partition("/")[2] for one in beside])
    gathered = Gathered(Examples(together, numbers, labels, groups), tuple(broken), silent, doubles)
    lesson.check(gathered.examples)
    return gathered


def teach(gathered: Gathered, name: str, engine: Engine, seed: int = 0) -> Lesson:
    """Raises BadLesson, and pictures.Missing."""
    if not NAME.fullmatch(name):
        raise BadLesson(f"--name {name!r}: letters, digits, '-', '_', '.' and spaces, 64 at most")
    spec = engine.spec
    assert spec is not None
    probe = taught.ask(engine, 60)
    if probe is None:
        raise BadLesson(f"The model {spec.name} gives no embeddings, so nothing can be taught to it")
    examples = gathered.examples
    if examples.rows.shape[1] != len(probe):
        raise BadLesson(
            f"The embeddings have {examples.rows.shape[1]} numbers, those of {spec.name} {len(probe)}:"
            " they are another model's"
        )
    figures = lesson.cross_validate(examples, seed)
    learnt = lesson.learn(examples, seed)
    arrays = {"mean": learnt.mean, "scale": learnt.scale, "weights": learnt.weights, "bias": learnt.bias}
    made = Taught(
        name=name, labels=examples.names, model=spec.name, probe=probe, figures=figures.to_json(), **arrays
    )
    return Lesson(made, figures)


def save(made: Taught, out: Path, replace: bool = False) -> Path:
    """A folder that holds all of it, or none. Raises FileExistsError."""
    if out.exists() and not replace:
        raise FileExistsError(f"{out} is there already: choose another --name or --out, or --replace it")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        made.save(draft)
        draft.chmod(0o755)
        if out.exists():
            old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
            out.rename(old / "old")
            draft.rename(out)
            shutil.rmtree(old)
        else:
            draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return out


def _clips(
    top: Path, engine: Engine, config: Config, broken: list[folder.Broken]
) -> Iterator[tuple[str, Floats | None]]:
    """Embeddings of one label's clips by name; None: nobody speaks there."""
    spec = engine.spec
    assert spec is not None
    kept = folder.read(top)
    broken += [folder.Broken(f"{shown(top.name)}/{one.name}", one.why) for one in kept.broken]
    for record in kept.records:
        if record.embedding is None:
            continue
        try:
            if record.model != spec.name:
                raise BadEmbedding(f"of {record.model}; the model that is set is {spec.name}")
            yield record.name, load_embedding(record.embedding)
        except (BadEmbedding, OSError) as wrong:
            broken.append(folder.Broken(f"{shown(top.name)}/{record.name}", str(wrong)))
    held = look(top, top / ".none")
    broken += [folder.Broken(f"{shown(top.name)}/{shown(name)}", why) for name, why in held.errors.items()]
    for name in held.sizes:
        try:
            yield shown(name), heard(top / name, engine, config)
        except ClientError as refused:
            broken.append(folder.Broken(f"{shown(top.name)}/{shown(name)}", refused.message))


def heard(path: Path, engine: Engine, config: Config) -> Floats | None:
    """The embedding of a recording; None where nobody speaks. Raises ClientError."""
    return find.analyze(path, engine, config, Wish(embed=True)).embedding


def default_folder(name: str) -> Path:
    from server.paths import HOME

    return HOME / "taught" / name.replace(os.sep, "_")
