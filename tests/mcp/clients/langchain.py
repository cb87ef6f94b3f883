"""langchain-mcp-adapters: tools for LangChain, with a session for each call."""

from contextlib import asynccontextmanager
from datetime import timedelta

from driver import HEADERS, SECONDS, URL, drive
from langchain_core.tools import ToolException
from langchain_mcp_adapters.client import MultiServerMCPClient

CONNECTION = {"transport": "streamable_http", "url": URL, "headers": HEADERS}
if SECONDS:
    CONNECTION["session_kwargs"] = {"read_timeout_seconds": timedelta(seconds=SECONDS)}


class Session:
    def __init__(self, tools):
        self.tools = {tool.name: tool for tool in tools}

    async def list(self):
        return [{"name": tool.name, "description": tool.description} for tool in self.tools.values()]

    async def call(self, name, arguments):
        tool = self.tools[name]
        # The way agents call it, so that a failed tool is an answer to them.
        called = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
        try:
            message = await tool.ainvoke(called)
        except ToolException as error:
            return {"content": [{"type": "text", "text": str(error)}], "isError": True}
        content = message.content
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        return {"content": content, "isError": message.status == "error"}


@asynccontextmanager
async def opened():
    yield Session(await MultiServerMCPClient({"placet": CONNECTION}).get_tools())


drive(opened)
