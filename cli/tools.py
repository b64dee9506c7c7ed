"""`./run.sh tools …`: a thin command line around the toolbox. Imported by `cli.main` when it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import ConfigFile, Device, ModelName, found, given, settings
from server.paths import COMMAND, CONFIG

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Questions about a folder of results, and labels of your own. See docs/tools.md.",
)

Results = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of results, at any depth.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write into. [default: outputs/…]")]
Of = Annotated[str | None, typer.Option("--of", help="Only results of this model.")]


class By(StrEnum):
    hour = "hour"
    day = "day"


class When(StrEnum):
    scored = "scored"
    recorded = "recorded"


class Method(StrEnum):
    auto = "auto"
    umap = "umap"
    pca = "pca"


class Form(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


Counts = Annotated[When, typer.Option(help="The time that counts: of scoring, or of recording.")]
Zone = Annotated[str | None, typer.Option(help="As in Europe/Berlin or UTC. [default: this machine's]")]


@app.command()
def trend(
    folder: Results,
    by: Annotated[By, typer.Option(help="The width of a bin.")] = By.day,
    when: Counts = When.scored,
    zone: Zone = None,
    of: Of = None,
    out: Out = None,
) -> None:
    """Emotions over time: share and mean score of each, confidence, counts; trend.csv and trend.png."""
    from tools import output, pictures
    from tools import trend as trends

    with _plainly():
        read = _read(folder, of)
        made = trends.trend(read.records, by.value, _zone(zone), when.value)
        if not made.bins:
            raise ValueError(f"None of the {made.untimed} results says when it was {when.value}.")
        where = output.place(out, "trend")
        output.write(where / "trend.png", pictures.png(trends.draw(made)))
        table = output.write(where / "trend.csv", trends.csv(made))
        spoken = sum(one.recordings for one in made.bins)
        silent = sum(one.silent for one in made.bins)
        bins = f"{len(made.bins)} {by.value}{'' if len(made.bins) == 1 else 's'}"
        typer.echo(f"{spoken} recordings with speech, {silent} without, in {bins}, {made.zone}.")
        if made.untimed:
            typer.echo(f"{made.untimed} do not say when they were {when.value}, and are left out.")
        typer.echo(f"Written: {table} and {where / 'trend.png'}")
        _end(read.broken)


@app.command()
def similar(
    query: Annotated[Path, typer.Argument(help="A recording, a folder of one result, or an embedding.npy.")],
    folder: Results,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    centre: Annotated[
        bool, typer.Option("--centre", help="Take away first what all have in common.")
    ] = False,
    form: Annotated[Form, typer.Option("--as", help="What to print.")] = Form.table,
    of: Of = None,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Recordings that sound most like one, by the cosine of their embeddings."""
    from tools import folder as folders
    from tools import similar as likeness

    with _plainly():
        read = _read(folder, of)
        asked, its_model, itself = _query(query, lambda: settings(config, _chosen(model, device)))
        among = folders.vectors(read, of or its_model)
        if itself is not None:  # a recording is like itself, which nobody asks
            kept = [i for i, r in enumerate(among.records) if r.folder.resolve() != itself]
            if not kept:
                raise ValueError("There is nothing in that folder but the query itself.")
            among = folders.Vectors(
                tuple(among.records[i] for i in kept),
                among.rows[kept],
                among.model,
                among.without,
                among.broken,
            )
        matches = likeness.nearest(asked, among, n, centre)
        if form is Form.csv:
            typer.echo(likeness.csv(matches), nl=False)
        elif form is Form.json:
            typer.echo(
                json.dumps(
                    [
                        {
                            "name": m.record.name,
                            "cosine": round(m.cosine, 6),
                            "emotion": m.record.emotion,
                            "confidence": round(m.record.confidence, 6),
                            "folder": str(m.record.folder),
                        }
                        for m in matches
                    ],
                    ensure_ascii=False,
                    indent=2,
                )
            )
        else:
            for m in matches:
                typer.echo(
                    f"{m.cosine:7.4f}  {m.record.emotion:10} {m.record.confidence:4.0%}  {m.record.name}"
                )
        _end((*read.broken, *among.broken))


@app.command()
def cluster(
    folder: Results,
    method: Annotated[Method, typer.Option(help="auto: UMAP where it is installed and there are enough.")] = (
        Method.auto
    ),
    k: Annotated[int | None, typer.Option("-k", help="So many. [default: as there seem to be]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    of: Of = None,
    out: Out = None,
) -> None:
    """Groups of recordings that sound alike; clusters.csv and clusters.png."""
    from tools import cluster as clusters
    from tools import folder as folders
    from tools import output, pictures

    with _plainly():
        read = _read(folder, of)
        held = folders.vectors(read, of)
        made = clusters.cluster(held.rows, method.value, k, seed)
        where = output.place(out, "clusters")
        output.write(where / "clusters.png", pictures.png(clusters.draw(made, held)))
        table = output.write(where / "clusters.csv", clusters.csv(made, held))
        alone = int((made.labels < 0).sum())
        typer.echo(f"{made.method}: {made.n} groups of {len(made.labels)} recordings, {alone} in none.")
        if made.loose:
            typer.echo("They run into each other: read them as a rough order, not as kinds.")
        if held.without:
            typer.echo(f"{held.without} results have no embedding, and are left out.")
        typer.echo(f"Written: {table} and {where / 'clusters.png'}")
        _end((*read.broken, *held.broken))


@app.command()
def teach(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A sub-folder of recordings for each label.")],
    name: Annotated[str, typer.Option(help="What to call these labels.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to make. [default: taught/NAME]")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Teach labels of your own from 5 to 20 clips each, and say how good they will be."""
    from rich.console import Console
    from rich.markup import escape

    from server.local_engine import local_engine
    from tools import teach as lessons

    with _plainly():
        where = out or lessons.default_folder(name)
        if where.exists() and not replace:
            raise FileExistsError(
                f"{where} is there already: choose another --name or --out, or --replace it"
            )
        loaded = settings(config, _chosen(model, device))
        engine = local_engine(loaded)
        with Console(stderr=True).status("listening …") as status:
            gathered = lessons.gather(
                folder, engine, loaded, lambda clip: status.update(escape(f"listening: {clip[-60:]}"))
            )
            status.update("learning …")
            made = lessons.teach(gathered, name, engine, seed)
        lessons.save(made.taught, where, replace)
        for line in _told(made.figures, gathered.silent, gathered.doubles):
            typer.echo(line)
        typer.echo(
            f"\nWritten: {where}\nUse it: {COMMAND} analyze … --taught {where}, or model.taught in config.yaml"
        )
        _end(gathered.broken)


@app.command()
def report(
    folder: Results,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page. [default: outputs/report_….html]")
    ] = None,
    by: Annotated[By | None, typer.Option(help="The width of a bin. [default: what suits]")] = None,
    when: Counts = When.scored,
    zone: Zone = None,
    title: Annotated[str | None, typer.Option(help="A heading. [default: the folder's name]")] = None,
    of: Of = None,
) -> None:
    """One page of HTML about a folder, complete in itself, to keep or to send."""
    from tools import output
    from tools import report as reports

    with _plainly():
        read = _read(folder, of)
        page = reports.page(read, by.value if by else None, _zone(zone), when.value, title)
        path = out or output.place(None, "report") / "report.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        output.write(path, page)
        typer.echo(f"{len(read.records)} results. Written: {path}")
        _end(read.broken)


@app.command()
def rules(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Recorded sessions, results, recordings.")
    ],
    channels: Annotated[
        int, typer.Option(min=1, max=2, help="2: left is the agent, right the customer.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """What the rules of alerts.rules would have told of sessions and recordings that there are."""
    from tools.try_rules import main as run

    raise typer.Exit(run(paths, settings(config, _chosen(model, device)), channels, as_json))


@contextmanager
def _plainly() -> Iterator[None]:
    """What a user can put right is one sentence and exit status 2."""
    from server.errors import ClientError
    from tools.pictures import Missing

    try:
        yield
    except (ValueError, OSError, ImportError, ClientError, Missing) as wrong:
        typer.echo(str(wrong), err=True)
        raise typer.Exit(2) from None


def _read(path: Path, of: str | None) -> Any:
    from tools import folder

    read = folder.read(path)
    chosen = read.of(of)
    if not chosen.records:
        if read.records:
            raise ValueError(f"No results of {of} there; of: {', '.join(read.models)}")
        _list(read.broken)
        raise ValueError(f"{path}: no results there (result.json, or what `analyze --out` has written)")
    return chosen


def _query(path: Path, config: Any) -> tuple[Any, str | None, Path | None]:
    """An embedding, the model it is of, and the folder it comes from; None where that is not known."""
    from tools import folder

    if path.is_dir():
        beside = path / folder.EMBEDDING
        if not beside.exists():
            raise ValueError(f"{path}: holds no {folder.EMBEDDING}")
        its_model = folder.record(path, path.name).model if (path / folder.RESULT).exists() else None
        return _load(beside), its_model, path.resolve()
    if path.suffix == ".npy":
        itself = path.resolve().parent if path.name == folder.EMBEDDING else None
        return _load(path), None, itself
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    from server.local_engine import local_engine
    from tools.teach import heard

    loaded = config()
    engine = local_engine(loaded)
    found_there = heard(path, engine, loaded)
    if found_there is None or engine.spec is None:
        raise ValueError(f"{path}: nobody speaks there, so there is no embedding")
    return found_there, engine.spec.name, None


def _load(path: Path) -> Any:
    from tools import embedding

    try:
        return embedding.load(path)
    except embedding.BadEmbedding as wrong:
        raise ValueError(f"{path}: {wrong}") from None


def _told(figures: Any, silent: int, doubles: int) -> Iterator[str]:
    from tools.lesson import FEW

    names = figures.names
    clips = figures.clips
    wide = max(len(name) for name in names)
    yield f"{'':{wide}}  clips  found  taken for"
    for i, name in enumerate(names):
        wrong = {other: figures.confusion[i, j] / clips[i] for j, other in enumerate(names) if j != i}
        worst = max(wrong, key=lambda other: wrong[other])
        told = f"{worst} ({wrong[worst]:.0%})" if wrong[worst] >= 0.005 else "–"
        yield f"{name:{wide}}  {clips[i]:5.0f}  {figures.confusion[i, i] / clips[i]:5.0%}  {told}"
    yield (
        f"\nOn clips it has not heard: UAR {figures.uar:.2f} ({figures.low:.2f}–{figures.high:.2f}),"
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
    if silent:
        yield f"{silent} clips without speech were left out."
    if doubles:
        yield f"{doubles} clips were there twice, and count once."


def _zone(name: str | None) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"--zone {name!r}: no such time zone; as in Europe/Berlin, Asia/Shanghai, UTC"
        ) from None


def _chosen(model: str | None, device: str | None) -> dict[str, Any]:
    return given(model={"name": found(model), "device": device})


def _list(broken: Iterable[Any]) -> None:
    for one in broken:
        print(f"  {one.name}: {one.why}", file=sys.stderr)


def _end(broken: tuple[Any, ...]) -> None:
    """Exit status 1 when something could not be read."""
    if broken:
        print(f"{len(broken)} could not be read:", file=sys.stderr)
        _list(broken)
        raise typer.Exit(1)
