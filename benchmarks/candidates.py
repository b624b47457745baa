"""Measure how often the right question is among the nearest ones if many others are stored, too.

    python -m benchmarks.candidates QUESTIONS.jsonl… [--url valkey://127.0.0.1:6379/15]
        [--others 50000] [--groups GROUPS.jsonl] [--max-distance 0.6]

One wording and all near misses of each group are stored. After that, the other wordings are asked.
The many other stored questions come from files of JSON lines. They are the texts named `prompt`,
`a`, `b`, `origin` or `similar`, and the lists named `questions`.

The store in memory is measured. With --url, a Valkey is measured, too. Its database must be empty,
and is emptied at the end.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import numpy as np

from app.core.models import CacheKey, Embedding, EmbeddingModel, StoredResponse
from app.core.ports import WholeStore
from app.inference.local_embedder import LocalEncoder
from app.stores.memory.store import MemoryStore
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from app.tools.groups import BENCHMARK, Question, questions_of, read_groups, shuffled
from app.tools.jsonl import read_lines
from app.tools.statistics import Groups, table

_TEXTS = ("prompt", "a", "b", "origin", "similar")
_RANKS = (1, 2, 4, 8, 16)
_AT_ONCE = 16
_PARTITION = "0" * 64
_PATIENT = 30.0  # seconds


def others_in(paths: Sequence[Path], known: set[str]) -> Iterator[str]:
    """Yield the questions in files, without duplicates and without those in `known`."""
    seen = {*known}
    for path in paths:
        for line in read_lines(path):
            listed = line.document.get("questions")
            found = [line.document.get(name) for name in _TEXTS]
            for text in [*found, *(listed if isinstance(listed, list) else ())]:
                if isinstance(text, str) and text.strip() and text not in seen:
                    seen.add(text)
                    yield text


def embedded(texts: Sequence[str]) -> list[Embedding | None]:
    """Return the embeddings of texts, and print the progress."""
    encoder = LocalEncoder()
    found = []
    for number, text in enumerate(texts, 1):
        found.append(encoder.embed(text))
        if number % 5000 == 0:
            print(f"{number} of {len(texts)} embedded", flush=True)
    return found


def store_at(url: str | None, entries: int) -> WholeStore:
    """Return an empty store: a Valkey if there is a URL, otherwise a store in memory."""
    if url is None:
        return MemoryStore(entries, time.time, lambda _kind, _reason: None)
    model = EmbeddingModel("candidates", 384)
    return ValkeyStore(address_of(url), model, IndexOptions(), _PATIENT, time.time)


async def fill(store: WholeStore, stored: Sequence[tuple[str, Embedding | None]]) -> None:
    """Store each question, with an answer that has no content."""

    async def put(number: int, text: str, embedding: Embedding | None) -> None:
        key = CacheKey(_PARTITION, f"{number:064x}", text)
        answer = StoredResponse(key, "m", b'{"choices":[]}', time.time(), 86_400.0)
        await store.put(answer, embedding)

    numbered = ((number, *one) for number, one in enumerate(stored))
    while some := list(islice(numbered, _AT_ONCE)):
        await asyncio.gather(*(put(*one) for one in some))


async def ranks(
    store: WholeStore, asked: Sequence[tuple[str, Embedding | None]], max_distance: float
) -> list[float]:
    """Return, for each asked question, the rank of the right one among the nearest questions.

    `asked` has pairs: the right stored question, and the embedding of the asked one. Ranks begin at
    1. A rank is infinite if the right question is not among the nearest ones.
    """
    found = []
    for right, embedding in asked:
        near = (
            await store.nearest(_PARTITION, embedding, _RANKS[-1], max_distance)
            if embedding is not None
            else []
        )
        texts = [candidate.stored.key.text for candidate in near]
        found.append(1.0 + texts.index(right) if right in texts else np.inf)
    return found


def chosen(questions: Sequence[Question]) -> tuple[list[str], list[tuple[str, Question]]]:
    """Return the texts to store, and the questions to ask.

    Each question to ask is paired with the stored wording of its group.
    """
    first: dict[int, str] = {}
    asked = []
    for question in shuffled(questions):
        if question.is_wording and question.meaning[0] in first:
            asked.append((first[question.meaning[0]], question))
        elif question.is_wording:
            first[question.meaning[0]] = question.text
    near = [question.text for question in questions if not question.is_wording]
    return [*first.values(), *near], asked


Embedded = Sequence[tuple[str, Embedding | None]]
"""Pairs of a text and an embedding.

For stored questions, both are of the same question. For asked questions, the text is the right
stored question.
"""


async def measure(
    url: str | None, stored: Embedded, asked: Embedded, farthest: float
) -> list[float]:
    """Store questions and ask others; return the rank of the right question for each."""
    async with aclosing(store_at(url, len(stored))) as store:
        if (await store.count()).answers:
            raise SystemExit("the database is not empty")
        begin = time.perf_counter()
        await fill(store, stored)
        filled = time.perf_counter()
        found = await ranks(store, asked, farthest)
        searched = 1000 * (time.perf_counter() - filled) / len(asked)
        await store.purge()
    told = f"{len(stored)} stored in {filled - begin:.0f} s, {searched:.2f} ms a search"
    print(f"{url or 'in memory'}: {told}", flush=True)
    return found


def report(arguments: argparse.Namespace) -> str:
    """Measure the store in memory and, if a URL is given, the Valkey. Return the table."""
    groups = read_groups(arguments.groups)
    questions = list(questions_of(groups))
    stored, asked = chosen(questions)
    known = {question.text for question in questions}
    stored += islice(others_in(arguments.questions, known), arguments.others)
    vectors = embedded([*stored, *(question.text for _, question in asked)])
    in_store = list(zip(stored, vectors, strict=False))
    wanted = list(zip((right for right, _ in asked), vectors[len(stored) :], strict=True))
    urls = [None, arguments.url] if arguments.url else [None]
    far = arguments.max_distance
    found = [asyncio.run(measure(url, in_store, wanted, far)) for url in urls]
    of_groups = Groups(np.array([question.meaning[0] for _, question in asked]), len(groups))
    everything = np.ones(len(asked), bool)
    rows = [
        [str(rank), *(str(of_groups.share(np.array(f) <= rank, everything)) for f in found)]
        for rank in _RANKS
    ]
    head = [f"within {far:g}, among the nearest", *("in memory", "in Valkey")[: len(urls)]]
    return table(head, rows)


def main() -> None:
    """Run the measurement with the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", type=Path, nargs="*", help="files of other questions")
    parser.add_argument("--url", help="of an empty Valkey, beside the memory")
    parser.add_argument("--others", type=int, default=50_000)
    parser.add_argument("--groups", type=Path, default=BENCHMARK)
    parser.add_argument("--max-distance", type=float, default=0.6)
    print(report(parser.parse_args()))


if __name__ == "__main__":
    main()
