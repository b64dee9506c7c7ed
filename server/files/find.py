"""Recordings on disk: which there are below a folder, and what is heard in one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from server.config import Config
from server.engine import Engine
from server.errors import ClientError
from server.files.decode import SUFFIXES
from server.files.recognize import RecognizeOptions, recognize
from server.files.result import OnProgress, Recording, clean_name

__all__ = ["SUFFIXES", "UnreadableFile", "find", "open_recording", "recognize_file"]

BLOCK_S = 1


class UnreadableFile(Exception):
    """The file holds no audio that can be read; the text says why."""


def find(paths: list[Path]) -> list[Path]:
    """Files as given, folders as the recordings anywhere below them, in order. Raises FileNotFoundError."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: there is no such file or folder")
    return found


def open_recording(path: Path) -> BinaryIO:
    """Raises ClientError."""
    try:
        return path.open("rb")
    except OSError as broken:
        raise ClientError("BAD_AUDIO", f"cannot be opened: {broken.strerror}") from None


def recognize_file(
    path: Path,
    engine: Engine,
    config: Config,
    options: RecognizeOptions,
    on_progress: OnProgress = lambda report: None,
) -> Recording:
    """`recognize` for a file by its name. Raises ClientError, and OSError when the result cannot be written."""
    named = replace(options, file_name=options.file_name or clean_name(path.name))
    with open_recording(path) as file:
        return recognize(file, engine, config, named, on_progress)
