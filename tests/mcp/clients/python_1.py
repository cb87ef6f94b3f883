"""The Python SDK, version 1: the revisions with `initialize` only."""

from contextlib import asynccontextmanager
from datetime import timedelta

from driver import HEADERS, SECONDS, URL, drive, plain
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


class Session:
    def __init__(self, session):
        self.session = session

    async def list(self):
        return [plain(tool) for tool in (await self.session.list_tools()).tools]

    async def call(self, name, arguments):
        return plain(await self.session.call_tool(name, arguments))


@asynccontextmanager
async def opened():
    options = {"read_timeout_seconds": timedelta(seconds=SECONDS)} if SECONDS else {}
    async with streamablehttp_client(URL, headers=HEADERS) as (reads, writes, _):
        async with ClientSession(reads, writes, **options) as session:
            await session.initialize()
            yield Session(session)


drive(opened)
