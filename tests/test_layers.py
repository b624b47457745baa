"""The house rules, checked against the code."""

import ast
import re
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"

# A module imports only from lower rows, and from modules named before it in its own row.
LAYERS = [
    [
        "errors",
        "labels",
        "epochs",
        "models",
        "headers",
        "directives",
        "sse",
        "openai",
        "completions",
        "vectors",
        "metrics",
    ],
    [
        "breaker",
        "recent",
        "calibration",
        "guards.lexicon",
        "guards.lexing",
        "guards.languages",
        "guards.codes",
        "guards.evidence",
        "guards.quantities",
        "guards.likeness",
        "guards.requests",
        "guards.writing",
        "guards.reading",
        "guards.order",
        "guards.roles",
        "guards.proofs",
        "key",
        "key_parts",
        "selectors",
        "standing",
        "structured",
        "policy",
        "rules",
        "volatility",
        "freshness",
        "rendering",
        "recording",
        "curves",
        "figures",
    ],
    ["interfaces", "threads", "progress", "defects"],
    [
        "stores.order",
        "stores.expiring",
        "stores.partition",
        "stores.memory",
        "stores.codec",
        "stores.portable",
        "stores.journal",
        "stores.commits",
        "stores.sqlite",
        "stores.chores",
        "stores.valkey_url",
        "stores.valkey_keys",
        "stores.valkey_search",
        "stores.valkey_credentials",
        "stores.valkey_client",
        "stores.valkey_layout",
        "stores.valkey_routes",
        "stores.valkey_nodes",
        "stores.valkey_topology",
        "stores.valkey_coordinator",
        "stores.valkey_cluster",
        "stores.valkey_lease",
        "stores.valkey_entries",
        "stores.valkey_generations",
        "stores.valkey_survey",
        "stores.valkey_upkeep",
        "stores.valkey",
        "local_models",
        "embedders.local",
        "embedders.remote",
        "verifier",
        "transport",
        "upstream",
        "simulated_embeddings",
        "simulator",
        "memo",
        "jsonl",
        "client",
    ],
    [
        "arriving",
        "singleflight",
        "joining",
        "standby",
        "refreshing",
        "turns",
        "relaying",
        "parts",
        "store_parts",
        "judge",
        "hits",
        "cache",
        "curator",
        "fleet",
        "forwarding",
        "proxy",
        "explaining",
        "batches",
        "embeddings",
    ],
    [
        "incoming",
        "keyring",
        "responses",
        "middleware",
        "api.cached",
        "api.passthrough",
        "api.ops",
        "api.documents",
        "api.purging",
        "api.transfer",
        "api.admin",
        "api.explaining",
    ],
    [
        "settings",
        "logs",
        "main",
        "protocol",
        "server",
        "workers",
        "demo",
        "evaluation",
        "replaying",
        "admin_client",
        "carrying",
        "cli",
        "__main__",
    ],
]
PACKAGES = {"__init__", "api.__init__", "embedders.__init__", "guards.__init__", "stores.__init__"}
ENGINE_LAYER = 4
ADAPTERS = set(LAYERS[3])

# Who may know a library. What is not named here may be imported anywhere.
LIBRARIES = {
    "aiohttp": {"transport"},
    "fastapi": {
        "api.admin",
        "api.documents",
        "api.explaining",
        "api.ops",
        "api.purging",
        "api.transfer",
        "main",
        "server",
    },
    "httpx": {"transport", "upstream"},
    "onnxruntime": {"local_models"},
    "prometheus_client": {"metrics", "api.ops"},
    "pydantic": {"settings", "cli"},
    "pydantic_settings": {"settings"},
    "sqlite3": {"stores.journal"},
    "starlette": {*LAYERS[5], "main"},
    "tokenizers": {"local_models"},
    "typer": {"cli"},
    "uvicorn": {"protocol", "server"},
    "valkey": {"stores.valkey_credentials", "stores.valkey_client", "stores.valkey_layout"},
    "yarl": {"transport"},
}
IMPURE = {"asyncio", "logging", "os", "random", "socket", "threading", "time", "datetime"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(APP).with_suffix("").parts)


TREES = {module_name(path): ast.parse(path.read_text()) for path in APP.rglob("*.py")}
MODULES = [module for row in LAYERS for module in row]


def imports_of(module: str) -> set[str]:
    """List what a module imports: `app.` modules without that prefix, libraries by first name."""
    names: set[str] = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            source = node.module or ""
            whole = {f"{source}.{alias.name}".removeprefix("app.") for alias in node.names}
            names |= (whole & set(MODULES)) or {source}
    return {name.removeprefix("app.") for name in names}


def layer_of(module: str) -> int:
    return next(index for index, row in enumerate(LAYERS) if module in row)


def test_every_module_has_its_place() -> None:
    assert set(TREES) == set(MODULES) | PACKAGES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_below(module: str) -> None:
    below = set(MODULES[: MODULES.index(module)]) | {"app"}
    for name in imports_of(module):
        if name in MODULES or name == "app":
            assert name in below, f"{module} imports {name}"


@pytest.mark.parametrize("module", LAYERS[ENGINE_LAYER])
def test_the_engine_knows_neither_adapters_nor_settings(module: str) -> None:
    assert not imports_of(module) & (ADAPTERS | {"settings"})


@pytest.mark.parametrize("module", [m for row in LAYERS[:2] for m in row])
def test_vocabulary_and_decisions_are_pure(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports_of(module)} & IMPURE
    awaits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not any(isinstance(node, awaits) for node in ast.walk(TREES[module]))


@pytest.mark.parametrize(("library", "allowed"), LIBRARIES.items())
def test_a_library_is_known_in_few_places(library: str, allowed: set[str]) -> None:
    users = {m for m in MODULES if library in {n.partition(".")[0] for n in imports_of(m)}}
    assert users <= allowed


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


@pytest.mark.parametrize("module", MODULES)
def test_functions_and_files_stay_short(module: str) -> None:
    source = (APP / Path(*module.split("."))).with_suffix(".py").read_text()
    assert len(source.splitlines()) <= 400
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{module}.{node.name}"


def test_the_table_for_contributors_is_this_one() -> None:
    text = (APP.parent / "CONTRIBUTING.md").read_text()
    rows = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")][1:]
    told = [list(re.findall(r"`([\w/]+)`", row)) for row in rows]
    ours = [
        list(dict.fromkeys(f"{n.split('.')[0]}/" if "." in n else n for n in row)) for row in LAYERS
    ]
    ours[-1].remove("__main__")
    assert told == ours
