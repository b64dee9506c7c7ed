"""What the tools write: tables and pictures, each whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from server.spreadsheet import cell


def place(out: Path | None, tool: str) -> Path:
    """The folder to write into: `out`, or a new one of its own; made when it is not there."""
    if out is None:
        from server.paths import HOME

        out = HOME / "outputs" / f"{tool}_{datetime.now():%Y%m%d_%H%M%S}"
    out.mkdir(parents=True, exist_ok=True)
    return out


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new file to write into: it takes `path`'s place when the block ends, and is gone when it raises."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes | str) -> Path:
    """Replaces what is there only by all of it."""
    with whole_file(path) as draft:
        draft.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
    return path


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV, whose cells no spreadsheet runs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(map(cell, row) for row in rows)
    return text.getvalue()


def _umask() -> int:
    """Temporary files are private, results are as open as any file of the user's."""
    now = os.umask(0o077)
    os.umask(now)
    return now
