"""The commands of `reprise`."""

import asyncio
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import SecretStr

from app import __version__
from app.cli.policy import policy
from app.cli.rehearse import rehearse_log
from app.cli.report import report
from app.cli.shared import Json, Url, admin_client, bar, reported
from app.configuration import load_settings, warn_of_unknown_settings
from app.core.errors import BadInput
from app.core.logs import configure_logging
from app.inference.calibration_file import document_of
from app.inference.local_embedder import LocalEmbedder
from app.inference.verifier import load_verifier
from app.main import create_app
from app.server.connections import ConnectionLimits
from app.server.uvicorn_server import Server, listeners_of, run_server, url_of
from app.server.workers import Workers
from app.settings import Settings
from app.tools.benchmark import Benchmark, run_benchmark
from app.tools.calibrate import Calibrated
from app.tools.curves import csv_of
from app.tools.demo import run_demo
from app.tools.evaluate import Models, Scale, evaluate_pairs, read_pairs
from app.tools.groups import BENCHMARK, read_groups, sampled
from app.tools.operators import calibrate_for, operators_models, terms_of
from app.tools.progress import Progress
from app.tools.rated import read_labelled
from app.tools.replay import read_stream, replay_stream
from app.tools.statistics import Report
from app.tools.transfer import export_entries, import_entries
from app.variables import PREFIX

T = TypeVar("T")

_DISTANCES = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
_FARTHEST = 2.0
_SHOWN = 60  # characters of a question that are shown in a list
_ERROR_RATES = (0.01, 0.02, 0.05)
_BENCHMARK_RATES = (0.01, 0.02, 0.05, 0.1)

_LINES = "Files with one JSON object per line; gzipped if the name ends in .gz."
_Files = Annotated[list[Path], typer.Argument(help=_LINES)]
_FilesOrNone = Annotated[list[Path] | None, typer.Argument(help=_LINES)]
_Distances = Annotated[
    list[float] | None,
    typer.Option(
        help="Greatest cosine distance of a hit; may be given several times. "
        "(default: 0.05, 0.1 … 0.3)"
    ),
]
_ErrorRates = Annotated[
    list[float] | None,
    typer.Option(
        help="Share of hits that may be wrong; may be given several times. "
        "(default: 0.01, 0.02, 0.05)"
    ),
]
_Verifier = Annotated[
    Path | None,
    typer.Option(help="Folder with a verifier made by training/. (default: the one that ships)"),
]
commands = typer.Typer(
    help="A semantic-cache reverse proxy that speaks the OpenAI API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
commands.add_typer(policy, name="policy")
commands.command("rehearse")(rehearse_log)
commands.command()(report)


@commands.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of worker processes.")] = None,
) -> None:
    """Run the proxy. Settings are environment variables: see config.example.env."""
    given = {"host": host, "port": port, "workers": workers}
    with reported():
        settings = load_settings(**{n: v for n, v in given.items() if v is not None})
        configure_logging(settings.log_level, settings.log_format)
        warn_of_unknown_settings()
        settings, drawn = _with_admin_token(settings)
        app = create_app(settings) if settings.workers == 1 else None
        sockets = listeners_of(settings)
    with ExitStack() as stack:
        urls = [url_of(stack.enter_context(sock)) for sock in sockets]
        banner = _banner(settings, *urls) + drawn
        if app is None:
            typer.echo(banner, err=True)
            raise typer.Exit(Workers(settings, sockets).run())
        say = partial(typer.echo, banner, err=True)
        limits = (ConnectionLimits.of(settings), settings.admin_port)
        run_server(Server(app, settings.shutdown_timeout, say, *limits), *sockets)


@commands.command()
def demo() -> None:
    """Send three questions through a local proxy. It needs no key and no network."""
    run_demo()


@commands.command()
def evaluate(  # noqa: PLR0913, PLR0917 - the options of a command
    files: _FilesOrNone = None,
    distance: _Distances = None,
    error_rate: _ErrorRates = None,
    verifier: _Verifier = None,
    show: Annotated[int, typer.Option(help="How many mistakes to list.", min=0)] = 0,
    curves: Annotated[
        Path | None,
        typer.Option(
            help="CSV file to write, with the recall of each stage by its share of wrong hits."
        ),
    ] = None,
    benchmark: Annotated[
        bool,
        typer.Option(
            "--benchmark",
            help="Measure the current settings on the groups of questions that ship with Reprise.",
        ),
    ] = False,
    sample: Annotated[
        int | None, typer.Option(help="Use only this many groups of the benchmark.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Count the labelled pairs, {"a", "b", "same"}, that would share an answer."""
    measure = partial(evaluate_pairs, show=show)
    with reported():
        scale = _scale(distance, error_rate)
        if benchmark == bool(files):
            raise BadInput("give either files of pairs or --benchmark")
        if curves and curves.suffix != ".csv":
            raise BadInput(f"--curves {curves} is not allowed: its name must end in .csv")
    if benchmark:
        _run_benchmark(error_rate or _BENCHMARK_RATES, sample, show, as_json=as_json)
        return
    reports = _measure(files or [], scale, (read_pairs, measure), verifier, as_json=as_json)
    if curves:
        with reported():
            _write(curves, csv_of((report.file, report.curves) for report in reports))


@commands.command()
def calibrate(
    files: _Files,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write, for REPRISE_VERIFIER_CALIBRATION."),
    ],
    max_distance: Annotated[
        float | None,
        typer.Option(
            help="Greatest cosine distance of the pairs that count. "
            "(default: the one that 98 of 100 rewordings do not exceed)"
        ),
    ] = None,
    shuffles: Annotated[
        int, typer.Option(help="How many times to shuffle the questions of all groups.", min=1)
    ] = 3,
    as_json: Json = False,
) -> None:
    """Measure the configured verifier on labelled pairs or groups, and write its calibration."""
    with reported():
        if max_distance is not None and not 0 < max_distance <= _FARTHEST:
            raise BadInput(
                f"--max-distance {max_distance} is not allowed: it must be above 0 and at most 2"
            )
        if not output.parent.is_dir():  # checked first, because the work takes long
            raise BadInput(f"{output}: No such file or directory")
        labelled = read_labelled(files, shuffles)
        settings = load_settings(verifier_calibration=str(output))
        made, embedder = calibrate_for(settings, labelled, max_distance, bar)
        verifier = settings.verifier_model if settings.verifier_url else ""
        document = document_of(made.calibration, embedder, verifier)
        _write(output, json.dumps(document, indent=2) + "\n")
    _show(made, as_json=as_json)


@commands.command()
def replay(
    files: _Files,
    distance: _Distances = None,
    error_rate: _ErrorRates = None,
    verifier: _Verifier = None,
    as_json: Json = False,
) -> None:
    """Send requests, {"prompt", "answer_id"}, through a local proxy, and count its hits."""
    with reported():
        scale = _scale(distance, error_rate)
    _measure(files, scale, (read_stream, replay_stream), verifier, as_json=as_json)


@commands.command()
def stats(url: Url = None, as_json: Json = False) -> None:
    """Show the entries of a running proxy, and its requests by outcome."""
    with reported():
        told = admin_client(url).stats()
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        shown = ", ".join(f"{key} {_shown(item)}".strip() for key, item in inner)
        typer.echo(f"{name:<10} {shown if value != [] else 'none'}")


def _shown(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    return "(" + ", ".join(f"{key} {_shown(inner)}" for key, inner in item.items()) + ")"


@commands.command()
def purge(  # noqa: PLR0913, PLR0917 - the options of a command
    everything: Annotated[bool, typer.Option("--all", help="Remove all entries.")] = False,
    tag: Annotated[str | None, typer.Option(help="Remove entries with this tag.")] = None,
    model: Annotated[str | None, typer.Option(help="Remove entries for this model.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Remove entries in this namespace.")] = None,
    about: Annotated[
        str | None,
        typer.Option(help="Remove entries whose question means about the same as this text."),
    ] = None,
    max_distance: Annotated[
        float | None, typer.Option(help="Greatest cosine distance from the text of --about.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the entries that a purge would remove.")
    ] = False,
    url: Url = None,
) -> None:
    """Remove entries from a running proxy. An entry must match all given options."""
    given: dict[str, object] = {
        "all": everything or None,
        "tag": tag,
        "model": model,
        "namespace": namespace,
        "about": about,
        "max_distance": max_distance,
    }
    selector = {name: value for name, value in given.items() if value is not None}
    with reported():
        if not selector:
            raise BadInput("name what to purge, with --all, --tag, --model, --namespace or --about")
        purged = admin_client(url).purge(selector, dry_run=dry_run)
    typer.echo(f"{'would purge' if dry_run else 'purged'} {purged['purged']} entries")
    for entry in purged.get("entries", []):
        prompt = " ".join((entry["prompt"] or "").split())
        typer.echo(f"  {entry['id'][:12]}  {entry['model']}  {prompt[:_SHOWN]}")


@commands.command("export")
def export_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="File to write. If it contains an unfinished export, the command continues it."
        ),
    ],
    url: Url = None,
) -> None:
    """Write a running proxy's entries to a file: questions, answers and embeddings."""
    with reported():
        exported = export_entries(admin_client(url), file, bar)
    typer.echo(f"exported {exported} entries")


@commands.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(help="File made by `reprise export`; gzipped if its name ends in .gz.")
    ],
    from_line: Annotated[int, typer.Option(help="Number of the first line to import.", min=1)] = 1,
    url: Url = None,
) -> None:
    """Store the entries of a file in a running proxy. Newer entries in the proxy stay."""
    with reported():
        taken = import_entries(admin_client(url), file, from_line, bar)
    typer.echo(str(taken))
    if taken.problem:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    commands()


def _measure(
    files: Sequence[Path],
    scale: Scale,
    work: tuple[Callable[[Path], T], Callable[[T, Scale, Models, Progress], Report]],
    model: Path | None,
    *,
    as_json: bool,
) -> Sequence[Report]:
    """Read files by `work[0]` and measure them by `work[1]`. Print and return the reports."""
    read, measure = work
    with reported():
        read_files = [read(file) for file in files]
        verifier = load_verifier(LocalEmbedder.name, model)
    embedder = LocalEmbedder()
    models = Models(embedder, verifier)
    reports = []
    try:
        for content in read_files:
            reports.append(measure(content, scale, models, bar))
            if not as_json:
                typer.echo(reports[-1])
    finally:
        asyncio.run(embedder.aclose())
        asyncio.run(verifier.aclose())
    if as_json:
        document = {"files": [report.document() for report in reports]}
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    return reports


def _run_benchmark(rates: Sequence[float], sample: int | None, show: int, *, as_json: bool) -> None:
    """Measure the current settings on the groups that ship with Reprise; print the results."""
    with reported():
        groups = read_groups(BENCHMARK)
        groups = groups if sample is None else sampled(groups, sample)
        settings = load_settings()
        with operators_models(settings) as models:
            terms = replace(terms_of(settings, models, rates), show=show)
            measured = run_benchmark(BENCHMARK.name, groups, models, terms, bar)
    _show(measured, as_json=as_json)


def _show(report: Benchmark | Calibrated, *, as_json: bool) -> None:
    document = json.dumps(report.document(), indent=2, allow_nan=False) if as_json else ""
    typer.echo(document or str(report))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


def _scale(distances: Sequence[float] | None, rates: Sequence[float] | None) -> Scale:
    distances, rates = distances or _DISTANCES, rates or _ERROR_RATES
    for distance in distances:
        if not 0 <= distance <= _FARTHEST:
            raise BadInput(f"--distance {distance} is not allowed: it must be from 0 to 2")
    for rate in rates:
        if not 0 < rate < 1:
            raise BadInput(
                f"--error-rate {rate} is not allowed: it must be greater than 0 and less than 1"
            )
    return Scale(list(dict.fromkeys(distances)), list(dict.fromkeys(rates)))


def _with_admin_token(settings: Settings) -> tuple[Settings, str]:
    """Return settings and a line for the start message.

    If no admin token is set and stderr is a terminal, the settings get a random token and the line
    shows it. Otherwise the settings are unchanged and the line is empty.
    """
    if settings.admin_token.get_secret_value() or not sys.stderr.isatty():
        return settings, ""
    token = secrets.token_urlsafe(24)
    shown = f"\n  admin     {PREFIX}ADMIN_TOKEN={token} (random, for this run only)"
    return settings.model_copy(update={"admin_token": SecretStr(token)}), shown


def _banner(settings: Settings, url: str, *operators: str) -> str:
    shown = "".join(f"\n  operators {other}" for other in operators)
    anthropic = f"\n  anthropic {settings.anthropic_upstream}" if settings.anthropic_url else ""
    mode = "" if settings.mode.value == "serve" else f"\n  mode      {settings.mode.value}"
    policy_file = f"\n  policy    {settings.policy}" if settings.policy else ""
    if settings.admin_token.get_secret_value():
        shown += f"\n  dashboard {operators[0] if operators else url}/dashboard"
    return (
        f"reprise {__version__} listens on {url}/v1\n"
        f"  store     {settings.shown_store}\n"
        f"  embedder  {settings.embedder}\n"
        f"  upstream  {settings.upstream_url}{anthropic}{mode}{policy_file}{shown}"
    )
