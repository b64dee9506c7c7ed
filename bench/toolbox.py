"""What `tools similar` and `tools cluster` cost: time and peak memory of the commands, each in its own process.

    python -m bench.toolbox                      # 5,000 made-up results
    python -m bench.toolbox --results 100000     # as many as a year of a busy line; 0.8 GB on the disk

The embeddings have 774 numbers and are made up: moods of voices within sources, about as alike as real ones are
across sources (the median cosine of two is 0.16). Memory counts what is mapped from the disk, which the system
takes back when it needs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from server.paths import ROOT
from stream.types import LABELS, Floats

SIZE, LATENT = 774, 60
SOURCES, VOICES = 8, 400


def made_up(n: int, seed: int = 0) -> tuple[Floats, list[int]]:
    """Embeddings (n, SIZE) and the emotion of each."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(SOURCES, LATENT))
    voices = sources[rng.integers(0, SOURCES, VOICES)] + rng.normal(size=(VOICES, LATENT))
    moods = 0.6 * rng.normal(size=(len(LABELS), LATENT))
    emotions = rng.integers(0, len(LABELS), n)
    latent = voices[rng.integers(0, VOICES, n)] + moods[emotions] + 1.1 * rng.normal(size=(n, LATENT))
    latent += 0.9 * rng.normal(size=LATENT)  # what all share
    rows = latent.astype(np.float32) @ rng.normal(size=(LATENT, SIZE)).astype(np.float32)
    return rows + 2 * rng.normal(size=rows.shape).astype(np.float32), emotions.tolist()


def write(folder: Path, n: int) -> None:
    """Results as the server writes them."""
    rows, emotions = made_up(n)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for i in track(range(n), "making results", console=Console(stderr=True), transient=True):
        home = folder / f"outputs_20260101_{i:06}"
        home.mkdir(parents=True)
        scores = dict.fromkeys(LABELS, 0.05) | {LABELS[emotions[i]]: 0.6}
        told = {
            "emotion": LABELS[emotions[i]],
            "confidence": 0.6,
            "scores": scores,
            "timestamp_utc": (began + timedelta(minutes=i)).isoformat(),
            "model": "compact",
            "duration_s": 4.0,
            "file_name": f"call {i}.wav",
            "utterances": [{"start_ms": 0, "end_ms": 4000, "emotion": LABELS[emotions[i]], "scores": scores}],
        }
        (home / "result.json").write_text(json.dumps(told), encoding="utf-8")
        np.save(home / "embedding.npy", rows[i], allow_pickle=False)


def cost(*arguments: object) -> tuple[float, float, float]:
    """Seconds, those of a processor, and peak MB of a command, looked at fifty times a second.

    Raises RuntimeError when it fails.
    """
    began, peak, worked = time.monotonic(), 0, 0.0
    process = psutil.Popen(
        [sys.executable, "-m", "cli", "tools", *map(str, arguments)], stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        with suppress(psutil.Error):
            peak = max(peak, process.memory_info().rss)
            worked = sum(process.cpu_times()[:2])
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    return time.monotonic() - began, worked, peak / 1e6


def main(
    results: Annotated[int, typer.Option(min=40, help="How many.")] = 5000,
    everything: Annotated[bool, typer.Option(help="UMAP of all of them, too.")] = False,
) -> None:
    """Prints a table."""
    os.chdir(ROOT)
    table = Table(title=f"{results:,} results")
    for head in ("command", "seconds", "CPU s", "peak MB"):
        table.add_column(head, justify="left" if head == "command" else "right")
    with tempfile.TemporaryDirectory() as top:
        folder, out = Path(top) / "results", Path(top) / "out"
        write(folder, results)
        query = next(folder.iterdir())
        near = ("similar", query, folder, "-n", 5)
        cluster = ("cluster", folder, "--out", out, "--method")
        steps: list[tuple[str, tuple[object, ...]]] = [
            ("similar, the matrix is built", near),
            ("similar", near),
            ("similar --center", (*near, "--center")),
            ("cluster --method pca", (*cluster, "pca")),
            ("cluster --method umap", (*cluster, "umap")),
        ]
        if everything:
            steps.append(("cluster --method umap --sample 0", (*cluster, "umap", "--sample", 0)))
        for name, arguments in steps:
            seconds, worked, megabytes = cost(*arguments)
            table.add_row(name, f"{seconds:.1f}", f"{worked:.1f}", f"{megabytes:.0f}")
            print(
                f"{name}: {seconds:.1f} s, {worked:.1f} of CPU, {megabytes:.0f} MB",
                file=sys.stderr,
                flush=True,
            )
        kept = sum(one.stat().st_size for one in (folder / ".embeddings").rglob("*") if one.is_file())
        table.caption = f"the matrix and its index: {kept / 1e6:.0f} MB"
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
