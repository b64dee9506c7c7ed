"""The environments that processes of ours are started with: who sets a variable, and who must not inherit it."""

from __future__ import annotations

import os

# glibc keeps what large messages freed, 165 MB after a few of 3 MB each, unless told at start to give it back.
_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
# Where Python and its libraries are, the language, the time zone.
_HARMLESS = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")


def of_server() -> dict[str, str]:
    """Ours, and glibc told to give memory back; an operator's own settings of it win."""
    return {**_MALLOC, **os.environ}


def of_model_process(threads: int, gpu: str | None = None) -> dict[str, str]:
    """The server's, without its memory settings, which would slow tensors down. `gpu`: the only one it may see."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    if gpu is not None:  # numbered as nvidia-smi does, and as the metrics of GPUs do
        ours |= {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    # Libraries read it when they are loaded; more threads than this slow each other down.
    return {**ours, "OMP_NUM_THREADS": str(threads)}


def of_file_process() -> dict[str, str]:
    """What a process needs that reads strangers' files; tokens and secrets stay here."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
