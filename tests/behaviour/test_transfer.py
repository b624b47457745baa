"""Export and import over HTTP from every store into every other one, and by the commands."""

import asyncio
import gzip
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.errors import BadInput, CallFailed
from app.core.models import CacheKey, Embedding, StoredResponse
from app.tools.admin_client import AdminClient
from app.tools.transfer import export_entries, import_entries
from tests.behaviour.every_store import ADMIN, STORES, TOKEN, ask, client_of, outcome, setup_with
from tests.fakes import FakeProgress, embedding_of
from tests.servers import Setup


async def export(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/cache/export", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/jsonl")
    return [json.loads(line) for line in answer.text.splitlines()]


async def import_(client: httpx.AsyncClient, *lines: Any) -> dict[str, Any]:
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    answer = await client.post("/cache/import", content=content)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def told(**counts: int) -> dict[str, Any]:
    zero = {"imported": 0, "kept": 0, "expired": 0, "refused": 0, "first_refused": None}
    return {**zero, **counts}


@pytest.mark.parametrize(("source", "target"), [*zip(STORES, STORES[1:] + STORES[:1], strict=True)])
async def test_what_one_proxy_exports_another_imports(
    tmp_path: Path, source: str, target: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with setup_with(source, tmp_path / "a") as one, client_of(one) as client:
        await ask(client, "valkey what", {"x-cache-tags": "a"})
        entry = (await ask(client, "pasta how", model="n")).headers["x-cache-entry"]
        await client.post("/cache/feedback", json={"id": entry, "correct": False})
        one.clock.advance(100)
        first, *lines, last = await export(client)
        url = str(one.upstream.exchanges[0].header(b"host")[0].decode())
    assert (list(first), last) == (["cursor"], {"cursor": None})
    assert len(lines) == 2
    async with setup_with(target, tmp_path / "b") as other:
        other.settings = other.settings.model_copy(update={"upstream_url": f"http://{url}/v1"})
        other.clock.now = one.clock.now
        async with (
            other.run_before(f"http://{url}/v1") as base,
            httpx.AsyncClient(
                base_url=base.removesuffix("/v1"), headers=ADMIN, timeout=10
            ) as client,
        ):
            assert await import_(client, first, *lines, last) == told(imported=2)
            assert await import_(client, *lines) == told(kept=2)
            again = (await export(client))[1:-1]
            by_id = {line["id"]: line for line in again}
            assert by_id == {line["id"]: line for line in lines}
            hit = await ask(client, "valkey is what", {"x-cache-tags": "a"})
            assert hit.headers["age"] == "100"
            assert hit.headers["cache-status"].startswith("reprise; hit; ttl=3500;")
            assert await outcome(client, "pasta how", model="n") == "HIT"
            assert other.embedder.texts == ["valkey is what"]


@pytest.fixture
def setup() -> Setup:
    return Setup(admin_token=TOKEN)


async def exported_by(setup: Setup, client: httpx.AsyncClient, *texts: str) -> list[dict[str, Any]]:
    for text in texts:
        await ask(client, text)
    lines = (await export(client))[1:-1]
    await client.post("/cache/purge", json={"all": True})
    setup.embedder.texts.clear()
    return lines


async def test_what_another_model_has_embedded_is_embedded_anew(setup: Setup) -> None:
    async with client_of(setup) as client:
        (line,) = await exported_by(setup, client, "valkey what")
        assert await import_(client, {**line, "embedder": "another"}) == told(imported=1)
        assert await outcome(client, "valkey is what") == "HIT"
        await client.post("/cache/purge", json={"all": True})
        setup.embedder.answer = lambda _: None  # nor can it represent a text it does not know
        other = {**line, "prompt": "cobalt", "embedder": "another"}
        assert await import_(client, other) == told(imported=1)
        entry = (await client.get(f"/cache/entries/{line['id']}")).json()
        assert entry["prompt"] == "cobalt"
        (exported,) = (await export(client))[1:-1]
        assert exported["embedding"] is None


async def test_bad_lines_are_told_and_the_others_are_taken(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(setup) as client:
        one, other, old = await exported_by(setup, client, "valkey what", "pasta how", "old one")
        old["lifetime"] = "0.0"
        with caplog.at_level(logging.INFO, "reprise.admin"):
            report = await import_(client, one, {**one, "id": "x"}, old, [], other)
        first = {"line": 2, "why": "id is not a digest of 64 hexadecimal digits"}
        assert report == told(imported=2, expired=1, refused=2, first_refused=first)  # type: ignore[arg-type]
        assert "import: imported 2, kept 0, expired 1, refused 2 entries" in caplog.text
        assert "valkey" not in caplog.text
        assert await import_(client) == told()


async def test_an_import_answers_in_the_partition_that_it_names_alone(setup: Setup) -> None:
    async with client_of(setup) as client:
        (line,) = await exported_by(setup, client, "valkey what")
        foreign = {**line, "partition": "0" * 64}
        assert await import_(client, foreign) == told(imported=1)
        assert await outcome(client, "valkey is what") == "MISS"
        assert (await ask(client, "valkey what")).headers["x-cache"] == "MISS"


async def test_of_an_entry_that_is_there_twice_the_newest_is_taken(setup: Setup) -> None:
    async with client_of(setup) as client:
        (line,) = await exported_by(setup, client, "valkey what")
        older = {**line, "created_at": repr(float(line["created_at"]) - 10)}
        assert await import_(client, older, line, older) == told(imported=1, kept=2)
        assert (await ask(client, "valkey what")).headers["age"] == "0"


async def test_a_newer_answer_is_not_replaced(setup: Setup) -> None:
    async with client_of(setup) as client:
        (line,) = await exported_by(setup, client, "valkey what")
        setup.clock.advance(10)
        await ask(client, "valkey what")
        assert await import_(client, line) == told(kept=1)
        assert (await ask(client, "valkey what")).headers["age"] == "0"


async def test_an_export_is_gone_on_with_from_any_cursor(setup: Setup) -> None:
    async with client_of(setup) as client:
        for index in range(230):
            await setup.store.memory.put(entry_of(index, setup), embedding_of(f"w{index}"))
        lines = await export(client)
        cursors = [line["cursor"] for line in lines if "cursor" in line]
        assert (len(cursors), cursors[-1]) == (4, None)
        whole = [line["id"] for line in lines if "id" in line]
        assert len(set(whole)) == len(whole) == 230
        rest = await export(client, cursor=cursors[1])
        assert [line["id"] for line in rest if "id" in line] == whole[100:]
        for cursor in ("", "1", "another-1"):
            refused = await client.get("/cache/export", params={"cursor": cursor})
            assert refused.json()["error"]["code"] == "invalid_request"
        assert len(await export(client, tag="none")) == 4


def entry_of(index: int, setup: Setup) -> StoredResponse:
    key = CacheKey("0" * 64, f"{index:064x}", f"What is {index}?")
    answer = b'{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}'
    return StoredResponse(key, "m", answer, setup.clock.now, 600.0)


async def test_an_export_that_breaks_off_does_not_end_as_if_it_were_whole(setup: Setup) -> None:
    async def fail_later() -> None:
        if setup.store.calls.count("scan") > 1:
            raise RuntimeError

    async with client_of(setup) as client:
        for index in range(230):
            await setup.store.memory.put(entry_of(index, setup), embedding_of(f"w{index}"))
        setup.store.before = fail_later
        with pytest.raises(httpx.RemoteProtocolError):
            await export(client)
        failed = await client.get("/cache/export")
        assert failed.json()["error"]["code"] == "store_unavailable"
        failed = await client.post("/cache/import", content=json.dumps(_line()).encode())
        assert failed.json()["error"]["code"] == "store_unavailable"


def _line() -> dict[str, Any]:
    answer = {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}
    digests = {"id": "1" * 64, "partition": "0" * 64, "version": "1", "model": "m"}
    return {**digests, "created_at": "1700000000.0", "lifetime": "60.0", "completion": answer}


@contextmanager
def silent(_label: str, _steps: int) -> Iterator[Any]:
    yield lambda: None


async def test_a_file_is_written_gone_on_with_and_read_again(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "cache.jsonl"
    async with client_of(setup) as client:
        operator = AdminClient(str(client.base_url), TOKEN)
        for index in range(230):
            await setup.store.memory.put(entry_of(index, setup), embedding_of(f"w{index}"))
        progress = FakeProgress()
        written = await asyncio.to_thread(export_entries, operator, path, progress)
        assert (written, progress.seen) == (230, [("cache.jsonl", 230, 230)])
        assert path.stat().st_mode & 0o777 == 0o600
        whole = path.read_bytes()

        with pytest.raises(BadInput, match="complete export"):
            await asyncio.to_thread(export_entries, operator, path, silent)
        lines = whole.splitlines(keepends=True)
        for kept in (1, 57, 102, 150, len(lines) - 1):
            path.write_bytes(b"".join(lines[:kept]) + lines[kept][:5])
            await asyncio.to_thread(export_entries, operator, path, silent)
            ids = [json.loads(line).get("id") for line in path.read_bytes().splitlines()]
            assert [i for i in ids if i] == [f"{index:064x}" for index in range(230)]

        await client.post("/cache/purge", json={"all": True})
        packed = tmp_path / "cache.jsonl.gz"
        packed.write_bytes(gzip.compress(whole))
        progress = FakeProgress()
        taken = await asyncio.to_thread(import_entries, operator, packed, 100, progress)
        assert (taken.counts["imported"], taken.problem) == (132, "")
        assert progress.seen == [("cache.jsonl.gz", len(lines), len(lines))]
        taken = await asyncio.to_thread(import_entries, operator, path, 1, silent)
        assert str(taken) == "imported 98, kept 132, expired 0, refused 0"
        assert vectors_of(setup) == 230


def vectors_of(setup: Setup) -> int:
    partition = setup.store.memory._partitions["0" * 64]
    found: list[Embedding | None] = [partition.get(f"{index:064x}") for index in range(230)]
    return sum(v is not None and bool(np.isfinite(v).all()) for v in found)


async def test_what_cannot_be_carried_is_told_with_where_to_go_on(
    setup: Setup, tmp_path: Path
) -> None:
    async def fail() -> None:
        raise RuntimeError

    path = tmp_path / "cache.jsonl"
    path.write_text("This is a letter.\n")
    async with client_of(setup) as client:
        operator = AdminClient(str(client.base_url), TOKEN)
        with pytest.raises(BadInput, match="not an export"):
            await asyncio.to_thread(export_entries, operator, path, silent)
        assert path.read_text() == "This is a letter.\n"
        taken = await asyncio.to_thread(import_entries, operator, path, 1, silent)
        assert str(taken).endswith("refused 1 (line 1: not-json)")
        path.write_text(f"\n{json.dumps(_line())}\n")
        setup.store.before = fail
        with pytest.raises(CallFailed, match=r"503.*--from-line 2$"):
            await asyncio.to_thread(import_entries, operator, path, 2, silent)
        for missing in (tmp_path / "none.jsonl", tmp_path):
            with pytest.raises(BadInput):
                await asyncio.to_thread(import_entries, operator, missing, 1, silent)
