"""Writes the Chinese dashboard: the English one with the texts of `chinese.json` in place of its own.

    python deploy/grafana/translate.py

Change dashboards/emotion-stream-en.json and chinese.json, then run it; tests/deploy compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENGLISH = HERE / "dashboards" / "emotion-stream-en.json"
CHINESE = HERE / "dashboards" / "emotion-stream-zh.json"
TEXTS = HERE / "chinese.json"
SHOWN = {"title", "description", "legendFormat", "label", "text"}  # the keys whose values people read


def translated(node: Any, texts: dict[str, str]) -> Any:
    """`node` with what it shows in Chinese; what `texts` does not hold stays as it is."""
    if isinstance(node, dict):
        return {
            key: texts.get(value, value)
            if key in SHOWN and isinstance(value, str)
            else translated(value, texts)
            for key, value in node.items()
        }
    return [translated(each, texts) for each in node] if isinstance(node, list) else node


def chinese() -> str:
    """The Chinese dashboard's file."""
    board = translated(
        json.loads(ENGLISH.read_text(encoding="utf-8")), json.loads(TEXTS.read_text(encoding="utf-8"))
    )
    board["uid"] += "-zh"
    return json.dumps(board, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    CHINESE.write_text(chinese(), encoding="utf-8")
