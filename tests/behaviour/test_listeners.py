"""A separate listener for operators, in addition to the one for clients."""

import httpx
from pydantic import SecretStr

from app.adapters import adapters_for
from app.main import create_app
from app.server.uvicorn_server import Server, listen, url_of
from app.settings import FixedSettings
from tests.fakes import FakeEmbedder
from tests.servers import running

CHAT = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
PATHS = [
    "/metrics",
    "/cache/stats",
    "/cache%2Fstats",
    "/healthz",
    "/readyz",
    "/v1/models",
    "/cachex",
]


async def test_operators_routes_answer_at_their_own_port_alone() -> None:
    with listen("127.0.0.1", 0) as own:
        port = own.getsockname()[1]
        settings = FixedSettings(
            upstream_url="simulated://",
            verifier="off",
            admin_token=SecretStr("t"),
            admin_port=port,
        )
        app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
        server = Server(app, 1, lambda: None, operators_port=port)
        token = {"Authorization": "Bearer t"}
        async with running(server, own) as url, httpx.AsyncClient(headers=token) as client:
            public = [(await client.get(url + path)).status_code for path in PATHS]
            asked = [(await client.get(url_of(own) + path)).status_code for path in PATHS]
            answers = [
                await client.post(f"{base}/v1/chat/completions", json=CHAT)
                for base in (url, url_of(own))
            ]
            forged = {"Host": f"127.0.0.1:{port}"}
            assert (await client.get(f"{url}/metrics", headers=forged)).status_code == 404
    assert public == [404, 404, 404, 200, 200, 200, 404]
    assert asked == [200, 200, 200, 200, 200, 404, 404]
    assert [answer.status_code for answer in answers] == [200, 404]
    assert answers[1].json()["error"]["code"] == "route_not_found"
