"""`./run.sh tools …`: a thin command line around the toolbox. Imported by `cli.main` when it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from cli.options import ConfigFile, Device, ModelName, found, given, readable, say, settings, tell
from server.paths import COMMAND, CONFIG

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Questions about a folder of results, and labels of your own. See docs/tools.md.",
)

Results = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of results, at any depth.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write into. [default: outputs/…]")]
Sample = Annotated[
    int, typer.Option(min=0, help="Lay out so many, and place the others beside their nearest; 0: all.")
]
ModelFilter = Annotated[str | None, typer.Option("--of", help="Only results of this model.")]


class BinWidth(StrEnum):
    hour = "hour"
    day = "day"


class CountedTime(StrEnum):
    scored = "scored"
    recorded = "recorded"


class ClusterMethod(StrEnum):
    auto = "auto"
    umap = "umap"
    pca = "pca"


class SpokenLanguage(StrEnum):
    en = "en"
    zh = "zh"


class OutputFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


LanguageOption = Annotated[
    SpokenLanguage | None, typer.Option("--language", help="What it is written in. [default: the terminal's]")
]
TimeOption = Annotated[CountedTime, typer.Option(help="The time that counts: of scoring, or of recording.")]
Zone = Annotated[str | None, typer.Option(help="As in Europe/Berlin or UTC. [default: this machine's]")]


@app.command()
def trend(
    folder: Results,
    by: Annotated[BinWidth, typer.Option(help="The width of a bin.")] = BinWidth.day,
    when: TimeOption = CountedTime.scored,
    zone: Zone = None,
    language: LanguageOption = None,
    of: ModelFilter = None,
    out: Out = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Emotions over time: share and mean score of each, confidence, counts; trend.csv and trend.png."""
    from tools import output, pictures
    from tools import trend as trends

    with _plain_errors():
        read = _read(folder, of)
        made = trends.trend(read.records, by.value, _zone(zone), when.value, _drawn_in(language, config))
        if not made.bins:
            raise ValueError(f"None of the {made.untimed} results says when it was {when.value}.")
        where = output.place(out, "trend")
        output.write(where / "trend.png", pictures.png(trends.draw(made), made.language))
        table = output.write(where / "trend.csv", trends.csv(made))
        spoken = sum(one.recordings for one in made.bins)
        silent = sum(one.silent for one in made.bins)
        tell(
            f"{spoken} recordings with speech, {silent} without; {len(made.bins)} bins (--by {by.value},"
            f" {made.zone})."
        )
        if made.untimed:
            tell(f"{made.untimed} do not say when they were {when.value}, and are left out.")
        tell(f"Written: {table} and {where / 'trend.png'}")
        _exit_if_broken(read.broken)


@app.command()
def similar(
    query: Annotated[Path, typer.Argument(help="A recording, a folder of one result, or an embedding.npy.")],
    folder: Results,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    center: Annotated[
        bool, typer.Option("--center", help="Take away first what all have in common.")
    ] = False,
    centre: Annotated[bool, typer.Option("--centre", hidden=True)] = False,  # its name until 0.2
    form: Annotated[OutputFormat, typer.Option("--as", help="What to print.")] = OutputFormat.table,
    of: ModelFilter = None,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Recordings that sound most like one, by the cosine of their embeddings."""
    from tools import similar as likeness
    from tools.vectors import vectors

    if centre:
        say("--centre is now --center; the old name is accepted until version 0.3")
    with _plain_errors():
        asked = likeness.read_query(query, lambda: settings(config, _chosen(model, device)))
        with _progress() as progress:
            among = vectors(folder, of or asked.model, progress)
        # A recording is like itself, which nobody asks.
        itself = among.records.find(asked.folder) if asked.folder is not None else None
        matches = likeness.nearest(asked.embedding, among, n, center or centre, itself)
        written = {"csv": likeness.as_csv, "json": likeness.as_json, "table": likeness.as_text}
        typer.echo(written[form.value](matches), nl=False)
        _exit_if_broken(among.broken)


@app.command()
def cluster(
    folder: Results,
    method: Annotated[
        ClusterMethod, typer.Option(help="auto: UMAP where installed and there are enough.")
    ] = (ClusterMethod.auto),
    k: Annotated[int | None, typer.Option("-k", help="So many. [default: as there seem to be]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    sample: Sample = 20_000,
    language: LanguageOption = None,
    of: ModelFilter = None,
    out: Out = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Groups of recordings that sound alike; clusters.csv, clusters.json and clusters.png."""
    from tools import cluster as clusters
    from tools import output, pictures
    from tools.vectors import vectors

    with _plain_errors():
        with _progress() as progress:
            held = vectors(folder, of, progress)
            made = clusters.cluster(held.rows, method.value, k, seed, sample, progress)
        where = output.place(out, "clusters")
        spoken, found = _drawn_in(language, config), clusters.as_data(made, held)
        output.write(where / "clusters.png", pictures.png(clusters.draw(made, held, spoken), spoken))
        output.write(where / "clusters.json", orjson.dumps(found))
        table = output.write(where / "clusters.csv", clusters.csv(found))
        alone = int((made.labels < 0).sum())
        tell(f"{made.method}: {made.n} groups of {len(made.labels)} recordings, {alone} in none.")
        if made.loose:
            tell("They run into each other: read them as a rough order, not as kinds.")
        if made.laid_out < len(made.labels):
            tell(f"{made.laid_out:,} were laid out, the others placed beside their nearest (--sample).")
        if held.without:
            tell(f"{held.without} results have no embedding, and are left out.")
        tell(f"Written: {table} and {where / 'clusters.png'}")
        _exit_if_broken(held.broken)


@app.command()
def board(
    folder: Results,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On this machine; 0 takes a free one.")] = 0,
    method: Annotated[
        ClusterMethod, typer.Option(help="auto: UMAP where installed and there are enough.")
    ] = (ClusterMethod.auto),
    k: Annotated[
        int | None, typer.Option("-k", help="So many groups. [default: as there seem to be]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    sample: Sample = 20_000,
    taught: Annotated[
        Path | None, typer.Option("--taught", help="Folder for labels that are taught. [default: taught]")
    ] = None,
    language: Annotated[
        SpokenLanguage | None, typer.Option("--language", help="Of the page. [default: its reader's]")
    ] = None,
    of: ModelFilter = None,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """A map of the recordings in the browser: to listen to, to label, and to teach from."""
    from server.local_engine import local_engine
    from tools import cluster as clusters
    from tools import teach as teaching
    from tools.board.serve import BoardServer
    from tools.board.state import MapBoard, result_pages
    from tools.vectors import vectors
    from tools.words import name_in_chinese

    loaded = settings(config, _chosen(model, device))
    name_in_chinese(loaded.server.names_zh)
    with _plain_errors():
        with _progress() as progress:
            held = vectors(folder, of, progress)
            made = clusters.cluster(held.rows, method.value, k, seed, sample, progress)
        drawn = clusters.as_data(made, held)
        where = taught or teaching.default_folder("x").parent
        pages = result_pages(folder, loaded)
        state = MapBoard(folder, held, drawn, lambda: local_engine(loaded), where, pages)
        server = BoardServer(state, port, language.value if language else None)
        _tell(held.broken)
        tell(f"{made.n} groups of {len(made.labels)} recordings. Open {server.url} (Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            server.run()


@app.command()
def teach(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A sub-folder per label; or results labeled on the board.")
    ],
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
    from tools import teach as teaching

    with _plain_errors():
        where = out or teaching.default_folder(name)
        if where.exists() and not replace:
            raise FileExistsError(
                f"{where} is there already: choose another --name or --out, or --replace it"
            )
        loaded = settings(config, _chosen(model, device))
        engine = local_engine(loaded)
        with Console(stderr=True).status("listening …") as status:
            gathered = teaching.gather(
                folder, engine, loaded, lambda clip: status.update(escape(f"listening: {clip[-60:]}"))
            )
            status.update("learning …")
            made = teaching.teach(gathered, name, engine, seed)
        teaching.save(made.labels, where, replace)
        for line in teaching.summary(made.figures, gathered):
            tell(line)
        tell(f"Written: {where}")
        tell(f"Use it: {COMMAND} analyze … --custom-labels {where}, or model.custom_labels in config.yaml")
        _exit_if_broken(gathered.broken)


@app.command()
def report(
    folder: Results,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page. [default: outputs/report_….html]")
    ] = None,
    by: Annotated[BinWidth | None, typer.Option(help="The width of a bin. [default: what suits]")] = None,
    when: TimeOption = CountedTime.scored,
    zone: Zone = None,
    title: Annotated[str | None, typer.Option(help="A heading. [default: the folder's name]")] = None,
    language: LanguageOption = None,
    of: ModelFilter = None,
    config: ConfigFile = CONFIG,
) -> None:
    """One page of HTML about a folder, complete in itself, to keep or to send."""
    from tools import output
    from tools import report as reports

    with _plain_errors():
        read = _read(folder, of)
        spoken = _spoken(language, config)
        page = reports.page(read, by.value if by else None, _zone(zone), when.value, title, spoken)
        path = out or output.place(None, "report") / "report.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        output.write(path, page)
        tell(f"{len(read.records)} results. Written: {path}")
        _exit_if_broken(read.broken)


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

    chosen = settings(config, _chosen(model, device))
    raise typer.Exit(run(paths, chosen, channels, as_json, _spoken(None, config)))


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on a terminal, gone when it is over; what is under way is told by words that the tools give."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What a user can put right is one sentence and exit status 2."""
    from server.errors import ClientError
    from tools.pictures import Missing

    try:
        yield
    except (ValueError, OSError, ImportError, ClientError, Missing) as wrong:
        say(str(wrong))
        raise typer.Exit(2) from None


def _read(path: Path, of: str | None) -> Any:
    from tools import folder

    read = folder.read(path)
    chosen = read.of(of)
    if not chosen.records:
        if read.records:
            raise ValueError(f"No results of {of} there; of: {', '.join(read.models)}")
        _tell(read.broken)
        raise ValueError(f"{path}: no results there (result.json, or what `analyze --out` has written)")
    return chosen


def _spoken(language: SpokenLanguage | None, config: Path) -> Any:
    """The language of what is written: that asked for, else the terminal's, or that of the settings."""
    from server.language import of_terminal
    from tools.words import name_in_chinese

    server = settings(config, {}).server
    name_in_chinese(server.names_zh)
    if language:
        return language.value
    return "zh" if server.language == "zh" else of_terminal(os.environ)


def _drawn_in(language: SpokenLanguage | None, config: Path) -> Any:
    """The language of a picture: Chinese only where there is a font for it."""
    from tools.pictures import chinese_font

    spoken = _spoken(language, config)
    if spoken == "zh" and chinese_font() is None:
        say("No Chinese font is installed, so the picture is in English: fonts-noto-cjk")
        return "en"
    return spoken


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


def _tell(broken: Sequence[Any]) -> None:
    """What could not be read, and why."""
    if broken:
        say(f"{len(broken)} could not be read:")
    for one in broken:
        say(f"  {one.name}: {readable(one.why)}")


def _exit_if_broken(broken: Sequence[Any]) -> None:
    """Exit status 1 when something could not be read."""
    _tell(broken)
    if broken:
        raise typer.Exit(1)
