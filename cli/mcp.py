"""`emotion-stream mcp`: recordings and sessions for assistants, by the Model Context Protocol on stdin and stdout.

A program such as a desktop assistant starts it. It asks a server that runs, reads recordings of one folder that
its operator has named, writes nothing, and has no other way to a file.
"""

from __future__ import annotations

from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import socketio
from emotion_stream_client import AsyncEmotionClient, EmotionError

from server import __version__

MAX_LISTED = 1000
MAX_SEEN = 100_000
TIMEOUT_S = 30.0
INSTRUCTIONS = (
    "How people sound, by an emotion model of speech. Scores are probabilities of nine labels and guesses about a"
    " voice, not facts about a person: say so when you report them. Times are in milliseconds, unless a name ends"
    " in _s."
)


class Tools:
    """What an assistant may call; the texts are for it. What is wrong is raised, and the protocol tells it."""

    def __init__(self, url: str, token: str, desk_token: str, folder: Path | None) -> None:
        self._url, self._token, self._desk_token = url.rstrip("/"), token, desk_token
        self._folder = None if folder is None else folder.resolve()

    async def list_files(self) -> dict[str, Any]:
        """The files that `analyze_file` can be given, the first thousand of them."""
        root, names = self._root(), []
        for path in sorted(islice(root.rglob("*"), MAX_SEEN)):
            if path.is_file() and path.resolve().is_relative_to(root) and not _hidden(path, root):
                names.append(path.relative_to(root).as_posix())
                if len(names) == MAX_LISTED:
                    break
        return {"files": names}

    async def analyze_file(self, file: str) -> dict[str, Any]:
        """The emotion of a recording, of all of it and of each utterance. `file`: a name from `list_files`."""
        path = self._file(file)
        async with AsyncEmotionClient(self._url, self._token) as client:
            try:
                found = await client.recognize(path)
            except EmotionError as wrong:
                raise ValueError(f"{wrong.code}: {wrong.message}") from None
        kept = (
            "emotion",
            "confidence",
            "ambiguous",
            "scores",
            "duration_s",
            "verdict",
            "alerts",
            "utterances",
        )
        return {"file": file, **{name: found.raw[name] for name in kept if name in found.raw}}

    async def list_sessions(self) -> dict[str, Any]:
        """Conversations: those going on now, each with its emotion and alerts, and those that were recorded."""
        async with socketio.AsyncSimpleClient() as desk:
            auth = {"token": self._desk_token} if self._desk_token else None
            try:
                await desk.connect(self._url, auth=auth, namespace="/monitor", transports=["websocket"])
                live = await desk.call("list", timeout=TIMEOUT_S)
            except socketio.exceptions.ConnectionError as refused:
                raise ValueError(f"the desk of {self._url} cannot be asked: {refused}") from None
        recorded = await self._get("/api/v1/sessions", {"limit": "100"})
        for session in live["sessions"]:
            for timeline in session["timelines"].values():
                timeline.pop("spark", None)  # a drawing's points say nothing to a reader
        return {"live": live["sessions"], "recorded": recorded["sessions"]}

    async def how_it_sounded(
        self, session: str, begin_s: float, end_s: float, channel: str | None = None
    ) -> dict[str, Any]:
        """How a stretch of a conversation sounded, such as a turn.

        `session`: the `session_id` of one that is going on (its last ten minutes), or the `id` of a recorded one.
        `channel`: of a call of two, agent or customer.
        """
        asked = {"begin_ms": str(round(1000 * begin_s)), "end_ms": str(round(1000 * end_s))}
        if channel is not None:
            asked["channel"] = channel
        if not session or not all(c.isalnum() or c in "-_." for c in session) or session.startswith("."):
            raise ValueError("a session is named by letters, digits, '-', '_' and '.'")
        return await self._get(f"/api/v1/sessions/{session}/span", asked)

    def _root(self) -> Path:
        if self._folder is None:
            raise ValueError("no folder of recordings was named: start it with --folder")
        return self._folder

    def _file(self, name: str) -> Path:
        """Inside the folder, wherever links lead."""
        root = self._root()
        path = (root / name).resolve() if "\0" not in name else root
        if not path.is_relative_to(root) or _hidden(path, root) or not path.is_file():
            raise ValueError("no such recording in the folder; list_files names those that are there")
        return path

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        token = self._desk_token or self._token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(self._url + path, params=query, headers=headers) as response,
            ):
                told: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as wrong:
            raise ValueError(f"no answer from {self._url}: {type(wrong).__name__}") from None
        if response.status != 200:
            raise ValueError(f"{told['error']['code']}: {told['error']['message']}")
        return told


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def run(tools: Tools) -> None:
    """Serve until stdin ends. Raises ImportError."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    def told(tool: Any) -> Any:
        """Its reasons reach the assistant; anything else is a fault of ours, and is told without words."""

        @wraps(tool)
        async def call(**arguments: Any) -> dict[str, Any]:
            try:
                answer: dict[str, Any] = await tool(**arguments)
            except ValueError as wrong:
                raise ToolError(str(wrong)) from None
            return answer

        return call

    server = MCPServer("emotion-stream", instructions=INSTRUCTIONS, version=__version__)
    for tool in (tools.list_files, tools.analyze_file, tools.list_sessions, tools.how_it_sounded):
        server.add_tool(told(tool))
    server.run("stdio")
