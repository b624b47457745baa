"""`reprise demo`: asks a proxy on this machine three questions over HTTP."""

from app.main import create_app
from app.server.uvicorn_server import serving
from app.settings import FixedSettings
from app.tools.client import Client

QUESTIONS = ("What is Valkey?", "Can you explain what Valkey is?", "How do I cook pasta?")
_UPSTREAM = "simulated://?delay_ms=500"
_ROW = "{:<34}{:<17}{:>9}{:>12}"


def run_demo() -> None:
    """Start a proxy with the simulated upstream, ask three questions, and print a table."""
    app = create_app(FixedSettings(upstream_url=_UPSTREAM))
    with serving(app) as url, Client(url) as client:
        replies = [client.ask(question, {}) for question in QUESTIONS]
    print(_ROW.format("question", "source", "distance", "latency"))
    for question, reply in zip(QUESTIONS, replies, strict=True):
        source = "hit (semantic)" if reply.is_hit else "miss (upstream)"
        latency = f"{1000 * reply.seconds:.1f} ms"
        print(_ROW.format(question, source, reply.distance or "-", latency))
