"""Where the program's own files lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "static"
BROWSER_CLIENT = ROOT / "client" / "js"
