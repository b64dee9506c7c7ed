"""What this machine's processor can do, as Linux says it: for whoever chooses before torch is imported."""

from __future__ import annotations

from pathlib import Path

BF16 = {"amx_bf16", "avx512_bf16"}


def cpu_flags() -> set[str]:
    """What Linux says that the processor can do; empty where it doesn't say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return {word for line in lines if line.startswith("flags") for word in line.split()}
    except OSError:
        return set()


def multiplies_bf16() -> bool:
    """Whether it has instructions for products of bfloat16."""
    return bool(cpu_flags() & BF16)
