"""Options that several commands have, and how settings are loaded for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from server import config as configuration
from server.language import in_language, of_terminal

ConfigFile = Annotated[
    Path, typer.Option("--config", envvar="EMOTION_CONFIG", help="Settings file.", resolve_path=True)
]
ModelName = Annotated[str | None, typer.Option("--model", help="A model's name; `models` lists them.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
CustomLabels = Annotated[
    str | None, typer.Option("--custom-labels", help="A folder made by `tools teach`: labels of your own.")
]
Taught = Annotated[str | None, typer.Option("--taught", hidden=True)]  # its name until 0.2, warned of


def settings(file: Path, options: dict[str, Any]) -> configuration.Config:
    """Load the settings and print their warnings; or end with what is wrong with them."""
    loaded = checked_settings(file, options)
    for warning in loaded.warnings:
        say(warning)
    return loaded


def checked_settings(file: Path, options: dict[str, Any]) -> configuration.Config:
    """The same for a server's, which loads them again and puts their warnings into its log."""
    try:
        return configuration.load(file, options)
    except configuration.ConfigError as wrong:
        refuse_settings(str(wrong).splitlines())


def refuse_settings(lines: list[str]) -> NoReturn:
    """End with what is wrong with them."""
    for line in ("These settings cannot be used:", *lines):
        say(line)
    raise typer.Exit(2) from None


def say(text: str) -> None:
    """What whoever runs a command has to know, in the language of the terminal."""
    tell(text, err=True)


def tell(text: str, err: bool = False) -> None:
    """What a command has done, likewise."""
    typer.echo(readable(text), err=err)


def readable(text: str) -> str:
    """A text of ours in the language of the terminal."""
    return in_language(text, of_terminal(os.environ))


def found(model: str | None) -> str | None:
    """A model's folder as seen from here: the server runs elsewhere."""
    return str(Path(model).resolve()) if model and Path(model).is_dir() else model


def given(**sections: dict[str, Any]) -> dict[str, Any]:
    """Only those options that were given on the command line."""
    kept = {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}
    return {name: values for name, values in kept.items() if values}
