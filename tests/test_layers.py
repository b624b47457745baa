"""The rooms of `app/`, what each may import, and the other house rules, checked in the code."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"

# Each room, and the rooms that it may import from. Their order is that of the list in CONTRIBUTING.
ROOMS = {
    "core": set[str](),
    "dialects": {"core"},
    "matching": {"core"},
    "rules": {"core", "dialects", "matching"},
    "inference": {"core", "dialects"},
    "stores": {"core", "dialects", "rules"},
    "upstream": {"core", "dialects", "rules"},
    "engine": {"core", "dialects", "matching", "rules"},
    "api": {"core", "dialects", "rules", "stores", "engine"},
    "tracing": {"core", "dialects", "rules", "engine", "api"},
    "variables": {"rules", "stores"},
    "settings": {"rules", "stores", "api", "variables"},
    "configuration": {"core", "rules", "stores", "api", "variables", "settings"},
    "adapters": {
        *("core", "inference", "stores", "upstream", "settings", "configuration"),
    },
    "main": {
        *("core", "dialects", "rules", "inference", "engine", "api", "settings", "configuration"),
        "adapters",
        "tracing",
    },
    "server": {"core", "api", "settings", "main"},
    "tools": {
        *("core", "dialects", "matching", "rules", "upstream", "api", "settings"),
        *("adapters", "main", "server"),
    },
    "cli": {
        *("core", "inference", "variables", "settings", "configuration", "adapters", "main"),
        *("server", "tools"),
    },
    "__main__": {"cli"},
}
PURE_ROOMS = ("dialects", "matching", "rules")

# Who may know a library: a room, or one module of it. What is not named may be imported anywhere.
LIBRARIES = {
    "aiohttp": {"upstream.aiohttp_transport", "upstream.last_words"},
    "backports": {"core.content_codings"},
    "brotli": {"core.content_codings"},
    "fastapi": {"api", "main", "server"},
    "genai_prices": {"upstream.prices"},
    "httpx": {"upstream"},
    "opentelemetry": {"tracing.otel"},
    "onnxruntime": {"inference.onnx"},
    "prometheus_client": {"core.metrics", "api.ops"},
    "pydantic": {"variables", "configuration", "cli"},
    "pydantic_settings": {"variables", "settings"},
    "sqlite3": {"stores.sqlite"},
    "starlette": {"api", "main", "server.listeners", "tracing"},
    "tokenizers": {"inference.onnx"},
    "typer": {"cli"},
    "uvicorn": {"server"},
    "valkey": {"stores.valkey"},
    "yarl": {"upstream.aiohttp_transport"},
}
IMPURE = {"asyncio", "logging", "os", "random", "socket", "threading", "time", "datetime"}


def name_of(path: Path) -> str:
    parts = path.relative_to(APP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


TREES = {name_of(path): ast.parse(path.read_text()) for path in sorted(APP.rglob("*.py"))}
MODULES = sorted(set(TREES) - {"__init__"})


def imports_of(module: str) -> set[str]:
    """Return the modules that a module imports. Those of `app` are without the prefix `app.`."""
    names: set[str] = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            source = node.module or ""
            whole = {f"{source}.{alias.name}" for alias in node.names}
            names |= {name for name in whole if name.removeprefix("app.") in TREES} or {source}
    return {name.removeprefix("app.") for name in names} - {"app"}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def of_rooms(*rooms: str) -> Iterator[str]:
    return (module for module in MODULES if room_of(module) in rooms)


def test_the_rooms_are_what_a_stranger_sees() -> None:
    seen = {p.name.removesuffix(".py") for p in APP.iterdir() if p.suffix in {"", ".py"}}
    assert seen - {"__init__", "__pycache__", "data"} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_it_may(module: str) -> None:
    rooms = {room_of(name) for name in imports_of(module) if name in TREES}
    assert rooms <= ROOMS[room_of(module)] | {room_of(module)}


def test_rooms_and_modules_import_in_no_circle() -> None:
    TopologicalSorter(ROOMS).prepare()
    TopologicalSorter({m: imports_of(m) & set(TREES) for m in MODULES}).prepare()


@pytest.mark.parametrize("room", [room for room in ROOMS if (APP / room).is_dir()])
def test_a_room_says_what_it_is_for_and_what_it_may_import(room: str) -> None:
    told = ast.get_docstring(TREES[room]) or ""
    _, _, may = " ".join(told.split()).partition("May import: ")
    may = may.partition(" Imported by")[0]
    if may.startswith("every room but"):
        others = set(ROOMS) - {room, "__main__"}
        assert {n for n in ROOMS if f"`{n}`" in may} == others - ROOMS[room]
    else:
        assert {name for name in ROOMS if f"`{name}`" in may} == ROOMS[room]


@pytest.mark.parametrize("module", list(of_rooms(*PURE_ROOMS)))
def test_decisions_are_pure(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports_of(module)} & IMPURE
    awaits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not any(isinstance(node, awaits) for node in ast.walk(TREES[module]))


@pytest.mark.parametrize(("library", "allowed"), LIBRARIES.items())
def test_a_library_is_known_in_few_places(library: str, allowed: set[str]) -> None:
    users = {m for m in MODULES if library in {n.partition(".")[0] for n in imports_of(m)}}
    assert users
    assert all(any(f"{user}.".startswith(f"{place}.") for place in allowed) for user in users)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_imported_inside_a_function(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{module}.{node.name}"


@pytest.mark.parametrize("module", MODULES)
def test_no_state_is_global(module: str) -> None:
    assert not any(isinstance(node, ast.Global) for node in ast.walk(TREES[module]))
    mutable = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    for node in TREES[module].body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            assert not isinstance(node.value, mutable), f"{module}:{node.lineno}"


@pytest.mark.parametrize("path", sorted(APP.rglob("*.py")), ids=name_of)
def test_functions_and_files_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_contributing_lists_the_rooms_in_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [room.rstrip("/") for room in listed if room.rstrip("/") in ROOMS] == [
        room for room in ROOMS if room != "__main__"
    ]
