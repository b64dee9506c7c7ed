"""Options that several commands have, and how settings are loaded for them: by those that need any, since
what reads them takes longer to import than all of this room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from server.config import Config

ConfigFile = Annotated[
    Path, typer.Option("--config", envvar="EMOTION_CONFIG", help="Settings file.", resolve_path=True)
]
ModelName = Annotated[str | None, typer.Option("--model", help="A model's name; `models` lists them.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
CustomLabels = Annotated[
    str | None, typer.Option("--custom-labels", help="A folder made by `tools teach`: labels of your own.")
]
Taught = Annotated[str | None, typer.Option("--taught", hidden=True)]  # its name until 0.2, warned of


def settings(file: Path, options: dict[str, Any]) -> Config:
    """Load the settings and print their warnings; or end with what is wrong with them."""
    from server import config

    try:
        loaded = config.load(file, options)
    except config.ConfigError as wrong:
        typer.echo(config.refusal(str(wrong)), err=True)
        raise typer.Exit(2) from None
    for warning in loaded.warnings:
        say(warning)
    return loaded


def say(text: str) -> None:
    """What whoever runs a command has to know, in the language of the terminal."""
    tell(text, err=True)


def tell(text: str, err: bool = False) -> None:
    """What a command has done, likewise."""
    typer.echo(readable(text), err=err)


def readable(text: str) -> str:
    """A text of ours in the language of the terminal."""
    from server.language import in_language, of_terminal

    return in_language(text, of_terminal(os.environ))


def found(model: str | None) -> str | None:
    """A model's folder as seen from here: the server runs elsewhere."""
    return str(Path(model).resolve()) if model and Path(model).is_dir() else model


def given(**sections: dict[str, Any]) -> dict[str, Any]:
    """Only those options that were given on the command line."""
    kept = {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}
    return {name: values for name, values in kept.items() if values}
