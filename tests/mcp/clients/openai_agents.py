"""The client in OpenAI's Agents SDK."""

from contextlib import asynccontextmanager

from agents.mcp import MCPServerStreamableHttp
from driver import HEADERS, SECONDS, URL, drive, plain


class Session:
    def __init__(self, server):
        self.server = server

    async def list(self):
        return [plain(tool) for tool in await self.server.list_tools()]

    async def call(self, name, arguments):
        return plain(await self.server.call_tool(name, arguments))


@asynccontextmanager
async def opened():
    options = {"client_session_timeout_seconds": SECONDS} if SECONDS else {}
    async with MCPServerStreamableHttp({"url": URL, "headers": HEADERS}, **options) as server:
        yield Session(server)


drive(opened)
