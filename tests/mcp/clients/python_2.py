"""The Python SDK, version 2, which speaks 2026-07-28 where it can."""

from contextlib import asynccontextmanager

from driver import HEADERS, SECONDS, URL, drive, plain
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


class Session:
    def __init__(self, client):
        self.client = client

    async def list(self):
        return [plain(tool) for tool in (await self.client.list_tools()).tools]

    async def call(self, name, arguments):
        return plain(await self.client.call_tool(name, arguments))


@asynccontextmanager
async def opened():
    options = {"read_timeout_seconds": SECONDS} if SECONDS else {}
    async with create_mcp_http_client(headers=HEADERS) as http:
        async with Client(streamable_http_client(URL, http_client=http), **options) as client:
            yield Session(client)


drive(opened)
