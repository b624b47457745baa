"""`reprise demo`: three questions to a proxy on this machine, over real HTTP."""

import json
import threading
import time
import urllib.request
from dataclasses import dataclass

from app.main import create_app
from app.server import Server, listen, url_of
from app.settings import FixedSettings

QUESTIONS = ("What is Valkey?", "Can you explain what Valkey is?", "How do I cook pasta?")
_UPSTREAM = "simulated://?delay_ms=500"
_PATIENCE = 30.0
_ROW = "{:<34}{:<17}{:>9}{:>12}"


@dataclass(frozen=True, slots=True)
class Answered:
    """How one question was answered; the latency is in milliseconds."""

    question: str
    source: str
    distance: str
    latency: float


def run_demo() -> None:
    """Start a proxy in front of the simulated upstream, ask, and print a table."""
    settings = FixedSettings(upstream_url=_UPSTREAM)
    with listen("127.0.0.1", 0) as sock:
        server = Server(create_app(settings), settings.shutdown_timeout, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            answers = [_ask(url_of(sock), question) for question in QUESTIONS]
        finally:
            server.should_exit = True
            thread.join()
    print(_ROW.format("question", "source", "distance", "latency"))
    for answer in answers:
        latency = f"{answer.latency:.1f} ms"
        print(_ROW.format(answer.question, answer.source, answer.distance, latency))


def _ask(base_url: str, question: str) -> Answered:
    document = {"model": "simulated", "messages": [{"role": "user", "content": question}]}
    request = urllib.request.Request(  # noqa: S310 - our own socket
        f"{base_url}/v1/chat/completions",
        json.dumps(document).encode(),
        {"Content-Type": "application/json"},
    )
    begin = time.perf_counter()
    # A proxy that the environment names has no part in a talk with ourselves.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_PATIENCE) as response:
        response.read()
    latency = 1000 * (time.perf_counter() - begin)
    hit = response.headers["x-cache"] == "HIT"
    return Answered(
        question,
        "hit (semantic)" if hit else "miss (upstream)",
        response.headers.get("x-cache-distance", "-"),
        latency,
    )
