"""README and config.example.env say what the code does, all of it and nothing else."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import SecretStr

from app.core import errors
from app.core.errors import Failure, Refusal, RepriseError
from app.core.metrics import Metrics
from app.core.models import BypassReason, DiscardReason, Forward, Guard, Outcome
from app.core.tags import NAMESPACE, TAGS
from app.dialects.openai import NEUTRAL_FIELDS
from app.engine.explain import Obstacle
from app.main import adapters_for, create_app
from app.rules.directives import MAX_DISTANCE, TTL
from app.rules.headers import CacheControl
from app.rules.key import NEUTRAL_HEADERS, NEUTRAL_PREFIXES
from app.settings import PREFIX, FixedSettings, Settings
from tests.fakes import ManualClock
from tests.servers import proxy_of

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "config.example.env").read_text()
OTHERS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.yaml")])


def section(title: str) -> str:
    """Give a section of README."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """Give the rows of a table by what their first cell names."""
    cells = [
        re.split(r"(?<!\\)\|", line.strip("| \n"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def default_of(name: str) -> str:
    """Write a setting's default as the environment would."""
    default = Settings.model_fields[name].default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:.10g}"
    if default in (None, ()) or (
        hasattr(default, "get_secret_value") and not default.get_secret_value()
    ):
        return ""
    return str(default)


def test_every_setting_stands_in_the_example_with_its_default() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == {
        PREFIX + name.upper(): default_of(name) for name in Settings.model_fields
    }


def test_every_setting_stands_in_readme_with_its_default() -> None:
    assert {name: row[0].strip("`") for name, row in rows(section("Settings")).items()} == {
        PREFIX + name.upper(): default_of(name) for name in Settings.model_fields
    }


def test_readme_names_no_setting_that_there_is_not() -> None:
    named = set(re.findall(r"REPRISE_[A-Z_]+[A-Z]", README))
    assert named == {PREFIX + name.upper() for name in Settings.model_fields}


def test_the_example_can_be_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE)
    settings = Settings(_env_file=tmp_path / ".env")  # type: ignore[call-arg]
    assert settings.model_dump() == FixedSettings().model_dump()


def test_every_metric_stands_in_readme_with_its_labels() -> None:
    metrics = Metrics()
    ours = {}
    for collector in vars(metrics).values():
        if hasattr(collector, "_labelnames"):
            (family,) = collector.describe()
            suffix = "_total" if family.type == "counter" else ""
            ours[family.name + suffix] = set(collector._labelnames)
    documented = {
        name: set(re.findall(r"`(\w+)`", row[0])) for name, row in rows(section("Metrics")).items()
    }
    assert documented == ours


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
def test_other_documents_name_what_readme_explains(path: Path) -> None:
    text = path.read_text()
    settings = set(re.findall(r"REPRISE_[A-Z_]+[A-Z]", text))
    assert settings <= {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"reprise_[a-z_]+[a-z]", text)) <= set(rows(section("Metrics")))


@pytest.mark.parametrize("path", [ROOT / "README.md", *ROOT.glob("docs/*.md")], ids=str)
def test_a_link_leads_to_what_is_there(path: Path) -> None:
    text = path.read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), anchor
    for name in re.findall(r"\]\[([^\]]+)\]", text):
        assert f"\n[{name}]: https://" in text, name


def anchors_of(path: Path) -> set[str]:
    """Give the names by which the headings of a document are linked to."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_admin_route_stands_in_readme() -> None:
    settings = FixedSettings(upstream_url="simulated://")
    app = create_app(settings, adapters_for(settings, clock=ManualClock()))
    routers = [getattr(route, "original_router", None) for route in app.routes]
    ours = {
        f"{method} {route.path}".replace("{digest}", "{id}")
        for router in routers
        if isinstance(router, APIRouter) and router.prefix == "/cache"
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    table = section("Looking after the cache")
    told = re.findall(r"\| `([A-Z]+ /cache/[\w/{}]+)", table)
    assert sorted(told) == sorted(ours)


def subclasses(error: type[RepriseError]) -> list[type[RepriseError]]:
    return [found for child in error.__subclasses__() for found in (child, *subclasses(child))]


def test_every_error_of_our_own_stands_in_readme() -> None:
    documented = set(re.findall(r"^\| (\d+) \| `(\w+)` \|", section("Errors"), re.MULTILINE))
    refusals = [error for error in subclasses(RepriseError) if issubclass(error, Refusal)]
    ours = {(str(error.status_code), error.code) for error in refusals if error is not Refusal}
    assert documented == ours


def test_every_error_stands_in_the_tree() -> None:
    assert errors.__doc__ is not None
    for error in subclasses(RepriseError):
        assert f"─ {error.__name__} " in errors.__doc__


def tokens(literals: object) -> set[str]:
    """Give the strings of a Literal, or of a union of them."""
    parts = get_args(literals)
    return {t for part in parts for t in ([part] if isinstance(part, str) else tokens(part))}


def test_every_detail_token_stands_in_readme() -> None:
    table = section("Headers").split("| token |")[1].split("\n\n")[0]
    documented = set(re.findall(r"`([a-z-]+)`", table))
    assert documented == tokens(BypassReason) | tokens(Failure)


def test_every_request_header_and_directive_stands_in_readme() -> None:
    table = section("Headers").split("| header | effect |")[1].split("\n\n")[0]
    names = {name.decode() for name in (NAMESPACE, TAGS, TTL, MAX_DISTANCE)}
    assert names <= set(re.findall(r"`(x-cache-[a-z-]+)", table))
    directives = {field.name.replace("_", "-") for field in fields(CacheControl)}
    directives.remove("must-revalidate")  # responses say so
    first_cells = "".join(re.findall(r"^\| `Cache-Control(.*?) \|", table, re.MULTILINE))
    assert set(re.findall(r"[ `]([a-z-]+)(?:=s)?`", first_cells)) == directives


def test_every_outcome_and_reason_to_forward_stands_in_readme() -> None:
    table = rows(section("Headers").split("| header | value |")[1].split("\n\n")[0])
    assert re.findall(r"`([A-Z]+)`", table["x-cache"][0]) == [outcome.value for outcome in Outcome]
    assert set(re.findall(r"fwd=(\w+)", table["Cache-Status"][0])) == set(get_args(Forward))


def test_every_reason_not_to_store_stands_in_readme() -> None:
    text = section("Headers").split("`reprise_not_stored_total` tells:")[1]
    documented = set(re.findall(r"`([a-z-]+)`", text))
    assert documented == tokens(DiscardReason)


def test_every_reason_not_to_answer_stands_in_readme() -> None:
    text = section("Why a request hits or misses").split("`refused_by` is")[1].split("\n- ")[0]
    assert tokens(Obstacle) <= set(re.findall(r"`([a-z-]+)`", text))


def test_every_neutral_name_stands_in_readme() -> None:
    text = section("What must match, what is never cached").lower()
    names = [*NEUTRAL_FIELDS, *(name.decode() for name in NEUTRAL_HEADERS)]
    names += [prefix.decode() + "*" for prefix in NEUTRAL_PREFIXES]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_guard_stands_in_readme() -> None:
    table = section("Guards").split("|---|---|")[1].split("\n\n")[0]
    first_cells = " ".join(line.split("|")[1] for line in table.strip().splitlines())
    assert set(re.findall(r"`(\w+)`", first_cells)) == {guard.value for guard in Guard}


DISTANCE = re.compile(r"(distance=0\.04)\d\d")
COMMAND = re.compile(r"^\$ (curl .*)\n(.*)$", re.MULTILINE)


TOKEN = "admin-token"
DIGEST = re.compile(r"[0-9a-f]{12,64}|[0-9a-f]{4}…")


def without_digests(told: Any) -> Any:
    """Give a document with something else in place of all digests, and coarse distances."""
    if isinstance(told, dict):
        return {name: without_digests(value) for name, value in told.items()}
    if isinstance(told, list):
        return [without_digests(value) for value in told]
    if isinstance(told, float):
        return round(told, 1)  # quantised models depend on the processor
    return DIGEST.sub("…", DISTANCE.sub(r"\1", told)) if isinstance(told, str) else told


@pytest.fixture
async def served() -> AsyncIterator[str]:
    settings = FixedSettings(upstream_url="simulated://", admin_token=SecretStr(TOKEN))
    adapters = adapters_for(settings, clock=ManualClock())
    async with proxy_of(create_app(settings, adapters)) as (url, _):
        yield url


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_commands_of_readme_print_what_it_says(served: str) -> None:
    commands = COMMAND.findall(README)
    assert len(commands) == 3
    for command, printed in commands:
        process = await asyncio.create_subprocess_shell(
            command.replace("http://127.0.0.1:8000/v1", served), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        # The distance may differ in its last digits: quantised models depend on the processor.
        told, expected = (DISTANCE.sub(r"\1", line) for line in (output.decode().strip(), printed))
        assert told == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_explanation_of_readme_is_given(served: str) -> None:
    shell, printed = re.findall(
        r"```(?:sh|json)\n(.*?)```", section("Why a request hits or misses"), re.DOTALL
    )
    async with httpx.AsyncClient(headers={"authorization": "Bearer sk-ann"}) as client:
        for text, fields in (
            ("What is Valkey?", {}),
            ("What is not Valkey?", {}),
            ("Explain what Valkey is", {"temperature": 0.5}),
        ):
            body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
            (await client.post(f"{served}/chat/completions", json=body)).raise_for_status()
    process = await asyncio.create_subprocess_shell(
        shell.replace("http://127.0.0.1:8000", served.removesuffix("/v1")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "REPRISE_ADMIN_TOKEN": TOKEN},
    )
    output, _ = await process.communicate()
    assert without_digests(json.loads(printed)) == without_digests(json.loads(output))
