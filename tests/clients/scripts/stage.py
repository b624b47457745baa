"""Performs the acts of a client that standard input names, one JSON line for each act.

An input line is {"act", "question"}; an output line is {"value"}, {"absent"} or {"error"}. The
environment variables are BASE_URL, API_KEY, and API, the name of the API to use.
"""

import asyncio
import inspect
import json
import os
import sys

BASE_URL = os.environ["BASE_URL"]
API_KEY = os.environ["API_KEY"]
SPEAKS_RESPONSES = os.environ["API"] == "responses"
MODEL = "gpt-4o-mini"
EMBEDDING_MODEL = "text-embedding-3-small"


def get_weather(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: The name of the city.
    """
    return f"It is 21 degrees in {city}."


def told(error: BaseException) -> dict:
    """Return an error's class, its status and the upstream's message."""
    seen = error
    while seen.__cause__ is not None and not hasattr(seen, "status_code"):
        seen = seen.__cause__
    status = getattr(seen, "status_code", None)
    return {"type": type(error).__name__, "status": status, "message": str(error)[:500]}


def run(**acts) -> None:
    """Perform acts until standard input ends. Keep the client's own prints out of the output."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    asyncio.run(_perform(acts, out))


async def _perform(acts: dict, out) -> None:
    """Run the event loop while waiting for the next line, because clients clean up after an act."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        ask = json.loads(line)
        print(
            json.dumps(await _reply(acts.get(ask["act"]), ask["question"]), default=str), file=out
        )


async def _reply(act, question: str) -> dict:
    if act is None:
        return {"absent": True}
    try:
        if inspect.iscoroutinefunction(act):
            return {"value": await act(question)}
        return {"value": await asyncio.to_thread(act, question)}
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what is asked
        return {"error": told(error)}
