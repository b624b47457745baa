"""Reads the answer to a chat completion request, and judges whether it may be stored and shared."""

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
    """Return a reader for a stream of chunks if `is_stream`, else for a JSON document.

    `choices` is the number of choices that the request asked for. `structure` is the structure that
    the request demands of the answer. `entitled` says how much of `usage` the upstream sends in the
    answer to this request.
    """
    judge = partial(judged, choices=choices, structure=structure, entitled=entitled)
    return ChunksReader(CompletionBuilder(), judge) if is_stream else DocumentReader(judge)


def judged(
    completion: JsonObject, choices: int, structure: Structure, entitled: Fullness
) -> Answer:
    """Return the Answer for a completion.

    The Answer says whether the completion may be stored, shared, and matched by meaning.

    `choices` is the number of choices that the request asked for. `structure` is the structure that
    the request demands of the answer. `entitled` says how much of `usage` the upstream sends in the
    answer to this request. If the completion has no `usage`, `entitled` is the fullness
    of the Answer.
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
