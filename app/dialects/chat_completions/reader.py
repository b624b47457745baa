"""Reads the answer to a chat completion request, whole or in chunks, and judges it."""

from functools import partial
from typing import Any

from app.core.models import Fullness
from app.dialects.chat_completions import fitness
from app.dialects.chat_completions.chunks import CompletionBuilder
from app.dialects.chunked import ChunksReader, without_envelope
from app.dialects.dialect import Answer
from app.dialects.documents import DocumentReader, written
from app.dialects.strict_json import JsonObject
from app.dialects.structure import Structure


def reader(
    choices: int, structure: Structure, entitled: Fullness, *, is_stream: bool
) -> ChunksReader | DocumentReader:
    """Return a reader for an answer.

    `choices` is the number of choices that were asked for. `structure` is what the request demands
    of the answer. `entitled` is how much of `usage` the upstream gives to a request of this form.
    """
    judge = partial(judged, choices=choices, structure=structure, entitled=entitled)
    return ChunksReader(CompletionBuilder(), judge) if is_stream else DocumentReader(judge)


def judged(
    completion: JsonObject, choices: int, structure: Structure, entitled: Fullness
) -> Answer:
    """Return a completion as an Answer that says whether to store, share and match it by meaning.

    If the completion has no `usage`, its fullness is `entitled`: the upstream gives no more usage
    to requests of this form.
    """
    completion = without_envelope(completion)
    unfit = fitness.why_not_stored(completion, choices, structure)
    may_be_shared = fitness.may_be_shared(unfit)
    content: dict[str, Any] = completion if may_be_shared else {}
    return Answer(
        written(content),
        entitled if completion.get("usage") is None else Fullness.ALL,
        unfit,
        may_be_shared,
        exact_only=unfit is None and fitness.is_exact_only(completion, structure),
    )
