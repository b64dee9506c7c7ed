"""The command line: `./run.sh …` and the installed `emotion-stream …` end here."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    ConfigFile,
    CustomLabels,
    Device,
    ModelName,
    Taught,
    found,
    given,
    settings,
)
from server.paths import COMMAND, CONFIG, HOME, ROOT

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="emotion-stream: the emotion of speech, while it is being spoken.",
)


class Table(StrEnum):
    csv = "csv"
    parquet = "parquet"


class Where(StrEnum):
    local = "local"
    ray = "ray"


class Licenses(StrEnum):
    all = "all"
    commercial = "commercial"


class Granularity(StrEnum):
    utterance = "utterance"
    frame = "frame"


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    model: ModelName = None,
    device: Device = None,
    log_format: Annotated[
        str | None, typer.Option(help="text, or json: one object per line, for whoever collects logs.")
    ] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Serve: the live page, the socket, REST and metrics. Every setting is in config.yaml."""
    from server import process_env, system

    where = {"host": host, "port": port, "log_format": log_format}
    options = given(server=where, model={"name": found(model), "device": device})
    args = json.dumps({"config": str(config), "options": options})
    os.chdir(HOME)
    # In the mode that nearly all have: to know better takes the settings, which are read there.
    command = [sys.executable, "-m", "server.run", "eventlet", args]
    system.replace_process(command, process_env.of_server())


@app.command()
def analyze(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Recordings, or folders of them.")],
    granularity: Annotated[Granularity, typer.Option(help="One result per file, or one per 10 ms frame.")] = (
        Granularity.utterance
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line; the default when the output is piped.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="One folder → a table of all results here; resumable (docs/tools.md).")
    ] = None,
    table: Annotated[Table, typer.Option(help="With --out: the kind of table.")] = Table.csv,
    each: Annotated[bool, typer.Option("--each", help="With --out: outputs of each recording too.")] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="With --out: --each, with embedding.npy.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="With --out: recordings under way at once.",
            show_default="2; on a cluster 3 for each replica",
        ),
    ] = None,
    engine: Annotated[
        Where, typer.Option(help="What scores: this process, or the Ray cluster of the settings.")
    ] = Where.local,
    custom_labels: CustomLabels = None,
    taught: Taught = None,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Score recordings: WAV, MP3, M4A, FLAC, OGG, WebM and more; any rate, any number of channels, any length."""
    from tools.analyze.run import main as run

    labels = {"custom_labels": found(custom_labels), "taught": found(taught)}
    loaded = settings(config, given(model={"name": found(model), "device": device, **labels}))
    job = None
    if out is not None:
        from tools.analyze.batch import BatchJob

        if len(paths) != 1 or not paths[0].is_dir():
            raise typer.BadParameter("give one folder of recordings", param_hint="--out")
        each = each or embeddings
        if granularity is Granularity.frame and not each:
            raise typer.BadParameter("rows are utterances; frames are in --each", param_hint="--granularity")
        at_once = jobs or (3 * loaded.engine.replicas if engine is Where.ray else 2)
        job = BatchJob(paths[0], out, table.value, each, embeddings, granularity.value, at_once)
    elif each or embeddings or table is not Table.csv:
        raise typer.BadParameter("say where to, with --out DIR", param_hint="--each, --embeddings, --table")
    as_json = as_json or not sys.stdout.isatty()
    raise typer.Exit(run(paths, granularity.value, loaded, as_json, job, engine is Where.ray))


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="A CSV manifest, or a folder with a sub-folder per label.")],
    split: Annotated[
        str | None,
        typer.Option(help="A split of the manifest, or all. [default: test, where there are splits]"),
    ] = None,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Only these corpora; can be given several times.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most N clips per corpus, evenly by label.")
    ] = None,
    conditions: Annotated[
        str, typer.Option(help="How clips are heard.")
    ] = "clean,telephone,noise,conversation",
    noise_db: Annotated[float, typer.Option(help="Speech above noise, dB.")] = 10.0,
    live: Annotated[str, typer.Option(help="Seconds after speech began at which to look.")] = "0.5,1,2",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    prior: Annotated[
        str | None, typer.Option(help="What the model takes to be likely: balanced or conversation.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report. [default: outputs/evaluation_…]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json instead of a table.")] = False,
    model: ModelName = None,
    device: Device = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Measure a model on labeled recordings: whole and live, clean, by telephone, in noise, in conversation."""
    from evaluation.run import Request
    from evaluation.run import main as run

    def parts(text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))

    request = Request(
        data=data,
        split=split,
        corpora=parts(",".join(corpus or [])),
        limit=limit,
        conditions=parts(conditions),
        noise_db=noise_db,
        times=parts(live),
        seed=seed,
        out=out,
    )
    raise typer.Exit(
        run(
            request,
            settings(config, given(model={"name": found(model), "device": device, "prior": prior})),
            as_json,
        )
    )


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `evaluate` has written.")],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="Another, of the same recordings.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Two evaluations of the same recordings, clip by clip: which model is better, and how surely."""
    from evaluation.compare import main as run

    raise typer.Exit(run((first, second), as_json))


@app.command()
def corpora(
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="A corpus that you have, as published; several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --add: the folder whose manifest.csv to write.")
    ] = None,
    licenses: Annotated[Licenses, typer.Option(help="Those whose license lets a model be sold, or all.")] = (
        Licenses.all
    ),
) -> None:
    """Public corpora of labeled speech; --add makes a manifest of yours, for `evaluate` and for training."""
    from cli import corpora as room

    if not add:
        room.show(licenses is Licenses.commercial)
    elif out is None:
        raise typer.BadParameter("say where the manifest goes", param_hint="--out")
    else:
        room.add(add, out, licenses is Licenses.commercial)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The folder for the weights; then --model takes it.")],
    data: Annotated[
        Path | None, typer.Option(envvar="EMOTION_DATA", help="The folder whose manifest.csv to learn from.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="A public corpus, put into that manifest first; `corpora`."),
    ] = None,
    licenses: Annotated[
        Licenses, typer.Option(help="commercial: leave out what does not let the model be sold.")
    ] = Licenses.all,
    work: Annotated[
        Path | None, typer.Option(help="Where it goes on when interrupted. [default: OUT/work]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Minutes, to see that all is in order.")] = False,
) -> None:
    """Make weights of compact from labeled speech: an hour and a half for ten thousand clips, on two cores."""
    from cli import corpora as room

    if data is None:
        raise typer.BadParameter("say where the manifest is, or goes", param_hint="--data")
    if add:
        room.add(add, data, licenses is Licenses.commercial)
    room.train(data, out, licenses.value, work or out / "work", quick)


@app.command()
def demo(
    file: Annotated[Path, typer.Argument(help="A recording to stream.")] = ROOT / "demo" / "conversation.wav",
    url: Annotated[str | None, typer.Option(help="A server that runs; without it one is started.")] = None,
    token: Annotated[
        str, typer.Option(help="The server's access token.", envvar="EMOTION_SERVER__TOKEN")
    ] = "",
    config: ConfigFile = CONFIG,
) -> None:
    """Stream a recording through the real socket, at real-time pace, and draw what comes back."""
    from cli.demo import main as run

    raise typer.Exit(run(file, url, token, config, settings(config, {}).names_zh))


@app.command("verify-model")
def verify_model(
    name: Annotated[str, typer.Argument(metavar="NAME|DIR", help="An emotion2vec model, or a folder.")],
    clip: Annotated[Path | None, typer.Option(help="A recording; default: the model's own.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    config: ConfigFile = CONFIG,
) -> None:
    """Score a clip and compare: with funasr's own class, and with what its authors published."""
    from soundfile import SoundFileError

    from stream.models.emotion2vec.verify import verify

    try:
        report = verify(name, clip, device, settings(config, {}).model.hub)
    except (ValueError, OSError, ImportError, SoundFileError) as wrong:
        typer.echo(str(wrong), err=True)
        raise typer.Exit(2) from None
    typer.echo("\n".join(report.lines()))
    raise typer.Exit(0 if report.holds else 1)


@app.command()
def export(
    name: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="compact, an emotion2vec model, or a folder.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file. [default: NAME.onnx]")] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Write a model as ONNX, with its head: for other runtimes than torch (docs/platforms.md)."""
    file = out or Path(f"{Path(name).name}.onnx")
    try:
        apart, terms = (
            _export_compact(file, config) if name == "compact" else _export_emotion2vec(name, file, config)
        )
    except (ValueError, OSError, ImportError) as wrong:
        typer.echo(str(wrong), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    typer.echo(f"its scores differ from torch's by {apart:.1g} at most, on noise of three lengths")
    typer.echo(f"license of the weights: {terms}")


def _export_compact(file: Path, config: Path) -> tuple[float, str]:
    """How far its scores are from torch's; the license."""
    from stream.models import compact

    prior = settings(config, {}).model.prior
    reference = compact.load("cpu", "float32", "torch", prior=prior)
    try:
        from training import export as recipe
    except ImportError as missing:
        raise ImportError(
            f"exporting compact needs a checkout, and ./run.sh install torch export ({missing.name} is missing)"
        ) from None
    return recipe.export(file, reference, prior), recipe.LICENSE


def _export_emotion2vec(name: str, file: Path, config: Path) -> tuple[float, str]:
    """How far its scores are from torch's; the license."""
    from stream.models.emotion2vec import funasr_shim

    model = settings(config, {}).model
    funasr_shim.import_class()
    from stream.models.emotion2vec.export import export as write

    typer.echo(f"Exporting {name}: a minute or two …", err=True)
    done = write(name, file, model.hub, model.allow_pickle)
    return done.apart, done.license


@app.command()
def mcp(
    url: Annotated[str, typer.Option(help="A server that runs.")] = "http://127.0.0.1:7860",
    folder: Annotated[
        Path | None, typer.Option(help="The recordings that may be analyzed, none outside it.", exists=True)
    ] = None,
    token: Annotated[str, typer.Option(help="The server's.", envvar="EMOTION_SERVER__TOKEN")] = "",
    desk_token: Annotated[str, typer.Option(help="The desk's.", envvar="EMOTION_MONITOR__TOKEN")] = "",
) -> None:
    """Recordings and sessions for assistants, over the Model Context Protocol (docs/mcp.md)."""
    from cli.mcp import Tools, run

    try:
        run(Tools(url, token, desk_token, folder))
    except ModuleNotFoundError as missing:
        if missing.name != "mcp":
            raise
        typer.echo(
            'The package mcp is missing: ./run.sh install mcp, or pip install "emotion-stream[mcp]"', err=True
        )
        raise typer.Exit(2) from None


@app.command()
def models() -> None:
    """List the models that can be chosen with --model or in config.yaml."""
    from stream.models.registry import ABOUT

    for name, about in ABOUT.items():
        typer.echo(f"{name:24} {about}")


def main() -> None:
    """Entry point of `python -m cli`."""
    from cli.keys import app as keys
    from cli.tools import app as toolbox  # here, since it takes its options from this module

    app.add_typer(toolbox, name="tools")
    app.add_typer(keys, name="keys")
    # A pipe that closes early (| head) is no error of ours.
    try:
        app(prog_name=COMMAND)
    except BrokenPipeError:
        sys.exit(0)
