"""fastmcp; with `tasks` as its second word also fastmcp-tasks, whose import alone makes its clients take tasks."""

import sys
from contextlib import asynccontextmanager

from driver import HEADERS, SECONDS, URL, drive, plain
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

if sys.argv[2:] == ["tasks"]:
    import fastmcp_tasks  # noqa: F401


class Session:
    def __init__(self, client):
        self.client = client

    async def list(self):
        return [plain(tool) for tool in await self.client.list_tools()]

    async def call(self, name, arguments):
        result = await self.client.call_tool(name, arguments, raise_on_error=False)
        return {
            "content": [plain(block) for block in result.content],
            "isError": result.is_error,
            "_meta": result.meta,
        }


@asynccontextmanager
async def opened():
    options = {"timeout": SECONDS} if SECONDS else {}
    async with Client(StreamableHttpTransport(URL, headers=HEADERS), **options) as client:
        yield Session(client)


drive(opened)
