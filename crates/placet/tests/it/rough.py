"""An MCP server for tests that behaves as badly as it is told to, over standard input and output. Standard library only.

Files in the directory that it is given tell it how; the tools are harmless, the way in which they answer is not.
"""

import json
import os
import sys

HOME = sys.argv[1]
TOOLS = ["echo", "flood", "huge", "garbage", "asks", "answers", "placet_await_approval"]


def told(name):
    return os.path.exists(os.path.join(HOME, name))


def write(line):
    sys.stdout.buffer.write(line + b"\n")


def say(message):
    write(json.dumps(message).encode())


def tools():
    number = 600 if told("crowded") else 0
    names = TOOLS + ["more%d" % place for place in range(number)]
    schema = {"type": "object", "properties": {"text": {}}, "additionalProperties": False}
    return [{"name": name, "description": "Does little.", "inputSchema": schema} for name in names]


def notify(method, times):
    for place in range(times):
        say({"jsonrpc": "2.0", "method": method, "params": {"progressToken": 1, "progress": place, "data": "x" * 100}})


def call(id, name, arguments):
    with open(os.path.join(HOME, "calls"), "a") as file:
        file.write(json.dumps([name, arguments]) + "\n")
    if name == "flood":
        for method in ["progress", "message", "tools/list_changed", "resources/updated"]:
            notify("notifications/" + method, 20_000)
    if name == "huge":
        # A hundred megabytes on one line, whose end is a perfectly good answer.
        sys.stdout.buffer.write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % id)
        for _ in range(100):
            sys.stdout.buffer.write(b"x" * 1_000_000)
        return write(b'"}]}}')
    if name == "garbage":
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"\xff\xfe"}]}}' % id)
        write(b"\x00\x01\x02 no message at all")
        write(b'{"jsonrpc":"2.0","id":"%d","result":{}}' % id)
        write(b"[]")
        write(b'{"jsonrpc":"2.0","id":99999999999999999999,"result":{}}')
    if name == "asks":
        for place in range(5_000):
            say({"jsonrpc": "2.0", "id": place, "method": "sampling/createMessage", "params": {"maxTokens": 1}})
    if name == "answers":
        # To calls that nobody has made, before and beside the one that was.
        for other in range(id + 1, id + 1_000):
            say({"jsonrpc": "2.0", "id": other, "result": {"content": [{"type": "text", "text": "forged"}]}})
    say({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": json.dumps(arguments)}]}})
    if told("die-afterwards"):
        sys.stdout.buffer.flush()
        os._exit(5)


def main():
    if told("down"):
        os._exit(4)
    for line in sys.stdin:
        message = json.loads(line)
        if told("down"):
            os._exit(4)
        method, id, params = message.get("method"), message.get("id"), message.get("params") or {}
        if method == "initialize":
            info = {"name": "rough", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
            say({"jsonrpc": "2.0", "id": id, "result": result})
        elif method == "tools/list":
            page = {"nextCursor": "again"} if told("endless") else {}
            say({"jsonrpc": "2.0", "id": id, "result": {"tools": tools(), **page}})
        elif method == "tools/call":
            call(id, params["name"], params["arguments"])
        sys.stdout.buffer.flush()


main()
