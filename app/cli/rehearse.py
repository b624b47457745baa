"""`reprise rehearse`: shows what the cache would do with the requests of a log."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.shared import Json, bar, reported
from app.configuration import load_settings
from app.tools.operators import operators_models
from app.tools.rehearse import refuse_to_send
from app.tools.rehearsed import rehearse
from app.tools.traffic import read_traffic


def rehearse_log(
    log: Annotated[
        Path,
        typer.Argument(help="File with one JSON object per line; gzipped if its name ends in .gz."),
    ],
    show: Annotated[int, typer.Option(help="How many wrong hits to list.", min=0)] = 10,
    as_json: Json = False,
) -> None:
    """Replay a log of requests with your settings. Print hits, savings, wrong hits and advice.

    The log contains request bodies of OpenAI's API, records of LiteLLM or Langfuse, or prompts.
    Nothing leaves this machine.
    """
    with reported():
        traffic = read_traffic(log)
        settings = load_settings()
        refuse_to_send(settings)
        with operators_models(settings) as models:
            told = rehearse(traffic, settings, models, bar, show)
    typer.echo(json.dumps(told.document(), indent=2) if as_json else str(told))
