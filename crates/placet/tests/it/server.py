"""An MCP server for tests, of the older revisions, over standard input and output. Standard library only.

It is told how to behave by files in the directory that it is given, and writes down there what it was called with.
"""

import hashlib
import json
import os
import sys
import time

HOME = sys.argv[1]


def told(name):
    try:
        with open(os.path.join(HOME, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def tool(name, description, **properties):
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"name": name, "description": description, "inputSchema": schema, "x-vendor": {"kept": 1.0}}


def tools():
    described = told("description") or "Says it back."
    echo = tool("echo", described, text={"type": "string"}, number={"type": "number"})
    echo["annotations"] = {"readOnlyHint": True}
    listed = [
        echo,
        tool("leak", "Tells what it knows."),
        tool("die", "Ends before it answers."),
        tool("big", "Answers at length.", size={"type": "integer"}),
        tool("ask", "Asks the client something first."),
        tool("mutter", "Writes what it has in hand to standard error, and ends.", text={"type": "string"}),
        tool("refuse", "Refuses, and tells why in its own words.", text={"type": "string"}),
        tool("hidden\u200b", "Its name hides something."),
    ]
    if told("twice"):
        listed.append(tool("echo", "Another of this name."))
    return listed


def text(words, **more):
    return {"content": [{"type": "text", "text": words}], "x-vendor": "kept", **more}


class Refused(Exception):
    """What is answered with an error."""


class Missing(Exception):
    """What is not there, with data for programs."""


def mutter(words):
    """Says it where it is no message: on standard error, and as a line that is JSON and none of the protocol's."""
    words = os.environ.get("SHOP_PASSWORD", "") + " " + words
    print(words, file=sys.stderr, flush=True)
    say(words)
    say({"id": {"of": words}, "method": [words]})


def call(id, params):
    name, arguments = params["name"], params["arguments"]
    with open(os.path.join(HOME, "calls"), "a") as file:
        file.write(json.dumps([name, arguments]) + "\n")
    if name == "die":
        os._exit(3)
    if name == "big":
        return text("x" * arguments["size"])
    if name == "leak":
        return text("it is " + os.environ["SHOP_PASSWORD"])
    if name == "mutter":
        mutter(json.dumps(arguments))
        os._exit(4)
    if name == "refuse":
        raise Refused(arguments["text"])
    if name == "ask":
        say({"jsonrpc": "2.0", "id": "mine", "method": "elicitation/create", "params": {"message": "approve?"}})
        answer = json.loads(sys.stdin.readline())
        return text(json.dumps(answer["error"]["code"]))
    if told("slow"):
        time.sleep(float(told("slow")))
    token = params.get("_meta", {}).get("progressToken")
    for progress, words in ((0, "began"), (0.5, os.environ["SHOP_PASSWORD"]), (1, "done")) if told("progress") else ():
        params = {"progressToken": token, "progress": progress, "total": 1, "message": words}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {**params, "progressToken": "another"}})
    return text(json.dumps(arguments))


def note(method, params):
    with open(os.path.join(HOME, "calls"), "a") as file:
        file.write(json.dumps([method, params]) + "\n")


def beside_tools(method, params):
    """Resources, prompts and completions."""
    if method.endswith("/list"):
        with open(os.path.join(HOME, "lists"), "a") as file:
            file.write(method + "\n")
        if told("changed"):
            say({"jsonrpc": "2.0", "method": told("changed")})
    if method == "resources/list":
        page = 2 if params.get("cursor") == "2" else 1
        uri = "note:///%d" % page
        more = [{"uri": "%s-%d" % (uri, n), "name": "n", "description": "x" * 50000} for n in range(int(told("fat") or 0))]
        return {"resources": [{"uri": uri, "name": "note", "x-vendor": 1.0}] + more, **({"nextCursor": "2"} if page == 1 else {})}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"uriTemplate": "note:///{n}", "name": "notes"}]}
    if method == "prompts/list":
        if told("quarrel"):
            return {"prompts": [{"name": "greet"}, {"name": 1}, {"title": "nameless"}, "greet"]}
        return {"prompts": [{"name": "greet", "arguments": [{"name": "who"}]}]}
    note(method, params)
    if method == "resources/read":
        if params["uri"].startswith("note:///none"):
            raise Missing(os.environ["SHOP_PASSWORD"] if "secret" in params["uri"] else params["uri"])
        if params["uri"] == "note:///secret":
            return {"contents": [{"uri": params["uri"], "text": os.environ["SHOP_PASSWORD"]}]}
        return {"contents": [{"uri": params["uri"], "text": "read", "x-vendor": 1.0}]}
    if method == "prompts/get":
        text = "Hello " + params.get("arguments", {}).get("who", "")
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
    if method == "completion/complete":
        return {"completion": {"values": [params["argument"]["value"] + "a"]}}
    return None


def main():
    sys.stdout.write("a banner that is no message\n")
    if told("fail"):
        mutter("cannot log in")
        sys.exit(5)
    with open(os.path.join(HOME, "environment"), "w") as file:
        file.write("\n".join(sorted(os.environ)))
    with open(os.path.join(HOME, "started"), "a") as file:
        secret = os.environ.get("SHOP_PASSWORD", "")
        file.write(hashlib.sha256(secret.encode()).hexdigest() + "\n")
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message.get("method"), message.get("id")
        if method == "initialize":
            info = {"name": "fixture", "version": "1"}
            say({"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info,
                "instructions": told("instructions") or "Echo is harmless."}})
        elif method == "tools/list":
            say({"jsonrpc": "2.0", "id": id, "result": {"tools": tools()}})
        elif method == "tools/call":
            try:
                say({"jsonrpc": "2.0", "id": id, "result": call(id, message["params"])})
            except Refused as refusal:
                words = os.environ["SHOP_PASSWORD"] if str(refusal) == "secret" else str(refusal)
                say({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "not with " + words}})
        elif id is not None:
            try:
                beside = beside_tools(method, message.get("params", {}))
            except Missing as missing:
                error = {"code": -32002, "message": "there is no such note", "data": {"uri": str(missing)}}
                say({"jsonrpc": "2.0", "id": id, "error": error})
                continue
            if beside is not None:
                say({"jsonrpc": "2.0", "id": id, "result": beside})
                continue
            say({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no such method"}})


main()
