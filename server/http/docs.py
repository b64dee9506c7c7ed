"""`/llms.txt`: which documents there are, for programs that read (llmstxt.org); `/docs/…`: each as it is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from flask import Flask, Response
from werkzeug.exceptions import NotFound

from server.paths import ROOT

FOLDER = ROOT / "docs"
HEAD = """# emotion-stream

> A server that is told of speech as it is spoken, over a WebSocket, Socket.IO or as files, and answers with the
> emotion of every 10 ms, of every utterance, and with alerts.

What there is to call is described for programs, too: [REST](/openapi.json), OpenAPI 3.1;
[live audio](/asyncapi.json), AsyncAPI 3.0.
"""


@cache
def pages() -> dict[str, Path]:
    """By the name in the address. Nothing else is looked up for a client."""
    found = sorted(FOLDER.rglob("*.md"))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in found}


@cache
def index() -> str:
    english = [name for name in pages() if not name.endswith(".zh") and not name.startswith("decisions/")]
    chinese = [name for name in pages() if name.endswith(".zh")]
    return f"{HEAD}\n## Documents\n\n{_list(english)}\n## 中文\n\n{_list(chinese)}"


def _list(names: list[str]) -> str:
    return "".join(f"- [{_title(pages()[name])}](/docs/{name}.md)\n" for name in names)


def _title(page: Path) -> str:
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ").partition(" · ")[0]


def add_docs_routes(app: Flask) -> None:
    @app.get("/llms.txt")
    def llms() -> Response:
        return Response(index(), mimetype="text/plain")

    @app.get("/docs/<path:name>.md")
    def doc(name: str) -> Response:
        if name not in pages():
            raise NotFound
        return Response(pages()[name].read_text(encoding="utf-8"), mimetype="text/markdown")
