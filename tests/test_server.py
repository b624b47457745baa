"""The proxy in a thread of its own."""

import threading

import pytest

from app.client import Client
from app.main import adapters_for, create_app
from app.server import serving
from app.settings import FixedSettings
from tests.fakes import FakeEmbedder


def test_a_proxy_in_the_background_answers_and_leaves_nothing_behind() -> None:
    settings = FixedSettings(upstream_url="simulated://")
    embedder = FakeEmbedder()
    before = threading.active_count()
    with serving(create_app(settings, adapters_for(settings, embedder=embedder))) as url:
        with Client(url) as client:
            assert not client.ask("Hello there", {}).is_hit
            assert client.ask("Hello there", {}).is_hit
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert embedder.closed
    with pytest.raises(ConnectionRefusedError):
        Client(url).ask("Hello there", {})


def test_no_proxy_of_the_environment_has_a_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    settings = FixedSettings(upstream_url="simulated://")
    app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
    with serving(app) as url, Client(url) as client:
        assert client.ask("Hello there", {}).answer.endswith("Hello there")


def test_a_proxy_in_the_background_ends_with_what_failed_in_front() -> None:
    settings = FixedSettings(upstream_url="simulated://")
    before = threading.active_count()
    app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
    with pytest.raises(KeyboardInterrupt), serving(app):
        raise KeyboardInterrupt
    assert threading.active_count() == before
