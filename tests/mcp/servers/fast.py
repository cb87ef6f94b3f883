"""A server written with fastmcp: typed tools, one of which runs as a task for clients that know tasks."""

import asyncio

from fastmcp import FastMCP
from fastmcp_tasks import TasksExtension

server = FastMCP("fast")
server.add_extension(TasksExtension())


@server.tool
def add(a: int, b: int) -> int:
    """Adds two whole numbers."""
    return a + b


@server.tool(task=True)
async def slowly(text: str) -> str:
    """Says a text back, after a moment."""
    await asyncio.sleep(0.2)
    return text


server.run(show_banner=False)
