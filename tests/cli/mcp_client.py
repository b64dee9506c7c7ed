"""Starts `emotion-stream mcp` as an assistant does, and calls its tools. Run where the package mcp is.

    mcp_client.py ARGUMENTS CALLS

Both JSON: the command's arguments, and a list of [tool, arguments]. Prints the tools, and what each call gave.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from mcp import ClientSession, StdioServerParameters, stdio_client


async def main() -> None:
    arguments, calls = (json.loads(text) for text in sys.argv[1:])
    started = StdioServerParameters(
        command=sys.executable, args=["-m", "cli", "mcp", *arguments], env=dict(os.environ)
    )
    told: list[dict[str, Any]] = []
    async with stdio_client(started) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        for name, given in calls:
            answer = await session.call_tool(name, given)
            text = "".join(getattr(part, "text", "") for part in answer.content)
            told.append({"error": bool(answer.is_error), "text": text})
    described = {tool.name: [tool.description, tool.input_schema] for tool in tools}
    print(json.dumps({"tools": described, "answers": told}))


asyncio.run(main())
