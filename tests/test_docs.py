"""README and config.example.env say what the code does, all of it and nothing else."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from app import errors
from app.errors import Failure, Refusal, RepriseError
from app.key import NEUTRAL_FIELDS, NEUTRAL_HEADERS, NEUTRAL_PREFIXES
from app.main import adapters_for, create_app
from app.metrics import Metrics
from app.models import Bypass, Guard, Unfit
from app.settings import PREFIX, FixedSettings, Settings
from tests.fakes import ManualClock
from tests.servers import proxy_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "config.example.env").read_text()


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
        return f"{default:g}" if default < 1e6 else str(default)
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
    assert documented == tokens(Bypass) | tokens(Failure)


def test_every_reason_not_to_store_stands_in_readme() -> None:
    text = section("Headers").split("`reprise_not_stored_total` tells:")[1]
    documented = set(re.findall(r"`([a-z-]+)`", text))
    assert documented == tokens(Unfit)


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


@pytest.fixture
async def served() -> AsyncIterator[str]:
    settings = FixedSettings(upstream_url="simulated://")
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
