"""What a test wants of a client, one JSON object a line: see driver.mjs."""

import asyncio
import json
import os
import sys

URL = sys.argv[1]
HEADERS = {"Authorization": "Bearer " + os.environ["PLACET_AGENT_TOKEN"]}
# Seconds after which the client gives up, or nothing for its own.
SECONDS = json.loads(os.environ.get("SETTINGS", "{}")).get("seconds")


def plain(model):
    """A model of pydantic as the JSON that came."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def why(error):
    """An error's text; of a group of errors, that of the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def drive(opened):
    """Answers until nobody asks any more. `opened` is an asynchronous context manager that gives list and call."""
    asyncio.run(answer(opened))


async def answer(opened):
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    line = await lines.readline()
    while line:
        owed = True
        try:
            async with opened() as session:
                while line:
                    owed = True
                    asked = json.loads(line)
                    try:
                        answered = {"ok": await one(session, asked)}
                    except Exception as error:
                        answered = {"error": why(error)}
                    say(answered)
                    owed, line = False, None
                    line = await lines.readline()
                    if line and json.loads(line)["op"] == "open":
                        break
        except BaseException as error:
            # A client that breaks takes its session along; it is opened anew for the next line.
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            if owed:
                say({"error": why(error)})
                line = None
        if line is None:
            line = await lines.readline()


async def one(session, asked):
    if asked["op"] == "open":
        return None
    if asked["op"] == "list":
        return await session.list()
    return await session.call(asked["name"], asked["arguments"])


def say(answered):
    sys.stdout.write(json.dumps(answered) + "\n")
    sys.stdout.flush()
