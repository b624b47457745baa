"""The documents and config.example.env list everything that the code has, and nothing else."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from app.adapters import adapters_for
from app.core import errors
from app.core.cache_status import BypassReason, DiscardReason, Forward, Outcome
from app.core.errors import Failure, Refusal, RepriseError
from app.core.metrics import Metrics
from app.core.models import Guard
from app.core.tags import NAMESPACE, TAGS
from app.dialects.openai import NEUTRAL_FIELDS
from app.engine.explain import Obstacle
from app.main import create_app
from app.rules.directives import MAX_DISTANCE, TIER, TTL
from app.rules.headers import CacheControl
from app.settings import FixedSettings, Settings
from app.variables import PREFIX, RETIRED
from tests.fakes import ManualClock
from tests.project import headers_page
from tests.project.settings_page import PAGE, default_of, meanings, page_of

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "config.example.env").read_text()
DOCS = {path.stem: path.read_text() for path in sorted(ROOT.glob("docs/*.md"))}
TABLES = {"clients"}  # pages that are only looked things up in
NOUNS = {page for page in DOCS if page != "index"} - TABLES
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.yaml")])
README_LINES = 150


def section(page: str, title: str) -> str:
    """Return a section of a page in docs/."""
    return DOCS[page].split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of a table, by the name in their first cell."""
    cells = [
        re.split(r"(?<!\\)\|", line.strip("| \n"))
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def first_cells(text: str) -> str:
    """Return the first cells of those rows of a table that begin with code."""
    return " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))


def test_every_setting_stands_in_the_example_with_its_default() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    assert dict(line.split("=", 1) for line in lines) == {
        PREFIX + name.upper(): default_of(name) for name in Settings.model_fields
    }


def test_the_page_of_settings_is_current() -> None:
    assert page_of(PAGE.read_text()) == PAGE.read_text(), "run scripts/docs-settings"


def test_every_setting_has_a_meaning() -> None:
    assert set(meanings()) == set(Settings.model_fields)


def test_the_settings_in_readme_have_their_defaults() -> None:
    table = rows(README)
    told = {name: row[0].strip("`") for name, row in table.items() if name.startswith(PREFIX)}
    assert told
    assert told == {name: default_of(name.removeprefix(PREFIX).lower()) for name in told}


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= README_LINES


@pytest.mark.parametrize("page", sorted(NOUNS))
def test_a_page_ends_with_what_can_go_wrong(page: str) -> None:
    assert re.findall(r"^## (.+)$", DOCS[page], re.MULTILINE)[-1] == "What can go wrong"


@pytest.mark.parametrize("page", sorted(NOUNS))
def test_readme_and_the_site_lead_to_every_page(page: str) -> None:
    assert f"(docs/{page}.md)" in README
    assert f"({page}.md)" in DOCS["index"]


@pytest.mark.parametrize("page", sorted(TABLES & set(DOCS)))
def test_the_site_leads_to_every_table(page: str) -> None:
    assert f"({page}.md)" in DOCS["index"]


def test_the_example_can_be_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE)
    settings = Settings(_env_file=tmp_path / ".env")  # type: ignore[call-arg]
    assert settings.model_dump() == FixedSettings().model_dump()


def test_every_metric_is_documented_with_its_labels() -> None:
    metrics = Metrics()
    ours = {}
    for collector in vars(metrics).values():
        if hasattr(collector, "_labelnames"):
            (family,) = collector.describe()
            suffix = "_total" if family.type == "counter" else ""
            ours[family.name + suffix] = set(collector._labelnames)
    documented = {
        name: set(re.findall(r"`(\w+)`", row[0]))
        for name, row in rows(section("operations", "Metrics")).items()
    }
    assert documented == ours


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_no_setting_and_no_metric_that_there_is_not(path: Path) -> None:
    if path.name == "CHANGELOG.md":
        return
    text = path.read_text()
    ours = {PREFIX + name for name in (*map(str.upper, Settings.model_fields), *RETIRED)}
    assert set(re.findall(r"REPRISE_[A-Z_]+[A-Z]", text)) <= ours
    named = re.findall(r"reprise_[a-z_]+[a-z]", text)
    series = {re.sub(r"_seconds_(bucket|count|sum)$", "_seconds", name) for name in named}
    assert series <= set(rows(section("operations", "Metrics")))


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=str)
def test_a_link_leads_to_what_is_there(path: Path) -> None:
    text = path.read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), anchor
    for name in re.findall(r"\]\[([^\]]+)\]", text):
        assert f"\n[{name}]: https://" in text, name


def anchors_of(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as links to them are written."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_admin_route_is_documented() -> None:
    settings = FixedSettings(upstream_url="simulated://", verifier="off")
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
    table = section("operations", "Manage the cache")
    told = re.findall(r"\| `([A-Z]+ /cache/[\w/{}]+)", table)
    assert sorted(told) == sorted(ours)


def subclasses(error: type[RepriseError]) -> list[type[RepriseError]]:
    return [found for child in error.__subclasses__() for found in (child, *subclasses(child))]


def test_every_error_of_our_own_is_documented() -> None:
    documented = set(
        re.findall(r"^\| (\d+) \| `(\w+)` \|", section("http-api", "Errors"), re.MULTILINE)
    )
    refusals = [error for error in subclasses(RepriseError) if issubclass(error, Refusal)]
    ours = {(str(error.status_code), error.code) for error in refusals if error is not Refusal}
    assert documented == ours


def test_every_error_stands_in_the_tree() -> None:
    assert errors.__doc__ is not None
    for error in subclasses(RepriseError):
        assert f"─ {error.__name__} " in errors.__doc__


def tokens(literals: object) -> set[str]:
    """Return the strings of a Literal, or of a union of Literals."""
    parts = get_args(literals)
    return {t for part in parts for t in ([part] if isinstance(part, str) else tokens(part))}


def test_every_detail_token_is_documented() -> None:
    table = section("http-api", "Why a request bypassed or missed the cache")
    documented = set(re.findall(r"`([a-z-]+)`", first_cells(table)))
    assert documented == tokens(BypassReason) | tokens(Failure)


def test_every_request_header_and_directive_is_documented() -> None:
    table = section("http-api", "Headers of a request")
    names = {name.decode() for name in (NAMESPACE, TAGS, TTL, MAX_DISTANCE, TIER)}
    assert names <= set(re.findall(r"`(x-cache-[a-z-]+)", table))
    directives = {field.name.replace("_", "-") for field in fields(CacheControl)}
    directives.remove("must-revalidate")  # responses say so
    told = "".join(re.findall(r"^\| `Cache-Control(.*?) \|", table, re.MULTILINE))
    assert set(re.findall(r"[ `]([a-z-]+)(?:=s)?`", told)) == directives


def test_every_outcome_and_reason_to_forward_is_documented() -> None:
    table = rows(section("http-api", "Headers of a response"))
    assert re.findall(r"`([A-Z]+)`", table["x-cache"][0]) == [outcome.value for outcome in Outcome]
    assert set(re.findall(r"fwd=(\w+)", table["Cache-Status"][0])) == set(get_args(Forward))


def test_every_reason_not_to_store_is_documented() -> None:
    table = section("http-api", "Why an answer was not stored")
    documented = set(re.findall(r"`([a-z-]+)`", first_cells(table)))
    assert documented == tokens(DiscardReason)


def test_every_reason_not_to_answer_is_documented() -> None:
    table = section("explain", "Why a near question is not served")
    assert tokens(Obstacle) <= set(re.findall(r"`([a-z-]+)`", first_cells(table)))


def test_every_neutral_name_is_documented() -> None:
    text = section("how-it-works", "The cache key and cacheable requests").lower()
    assert [name for name in NEUTRAL_FIELDS if f"`{name}`" not in text] == []
    assert "(http-api.md#headers-of-a-request-in-the-key)" in text


def test_the_table_of_headers_is_current() -> None:
    assert DOCS["http-api"] == headers_page.page_of(DOCS["http-api"])


def test_every_guard_is_documented() -> None:
    told = set(re.findall(r"`(\w+)`", first_cells(section("matching", "Guards"))))
    assert told == {guard.value for guard in Guard}
