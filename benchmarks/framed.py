"""Count how many rewordings hit inside the prompts of frameworks, and how many hit without them.

    python -m benchmarks.framed [--pairs 200] [--groups GROUPS.jsonl]

One wording of each pair is stored, and the other is asked. Each pair has its own namespace. First,
the wordings are sent alone. After that, they are sent inside each frame, with the same documents
and instructions. The settings come from the environment, as when serving.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from app.settings import Settings
from app.tools.evaluate import Models
from app.tools.groups import BENCHMARK, Question, questions_of, read_groups, shuffled
from app.tools.memo import Memo, Remembered
from app.tools.operators import operators_models, terms_of
from app.tools.replay import MayServe, Plan, ask, proxied
from app.tools.statistics import Share, table

_DOCUMENTS = "Orders leave the house within two days.\n\nWhoever has a question may write to us."

FRAMES = {
    "plain": "{}",
    "LangChain, retrieval": (
        "You are an assistant for question-answering tasks. Use the following pieces of retrieved "
        "context to answer the question. If you don't know the answer, just say that you don't "
        f"know.\nQuestion: {{}} \nContext: {_DOCUMENTS} \nAnswer:"
    ),
    "LlamaIndex, retrieval": (
        f"Context information is below.\n---------------------\n{_DOCUMENTS}\n"
        "---------------------\nGiven the context information and not prior knowledge, answer the "
        "query.\nQuery: {}\nAnswer: "
    ),
    "DSPy": (
        f"[[ ## context ## ]]\n{_DOCUMENTS}\n\n[[ ## question ## ]]\n{{}}\n\nRespond with the "
        "corresponding output fields, starting with the field `[[ ## answer ## ]]`."
    ),
    "CrewAI": (
        "\nCurrent Task: {}\n\nThis is the expected criteria for your final answer: a short text\n"
        "you MUST return the actual complete content as the final answer, not a summary.\n\nBegin! "
        "This is VERY important to you, use the tools available and give your best Final Answer, "
        "your job depends on it!\n\nThought:"
    ),
    "ReAct agent": (
        "Answer the following questions as best you can.\n\nUse the following format:\n\n"
        "Question: the input question you must answer\nThought: you should always think about what "
        "to do\nFinal Answer: the final answer\n\nBegin!\n\nQuestion: {}\nThought:"
    ),
}
"""Prompts with a slot for the question, as these frameworks write them."""

Two = tuple[Question, Question]


def rewordings(questions: Sequence[Question]) -> Iterator[Two]:
    """Yield one pair of wordings of each group. Groups with only one wording are left out."""
    first: dict[int, Question] = {}
    done: set[int] = set()
    for question in questions:
        number = question.meaning[0]
        if not question.is_wording or number in done:
            continue
        if number in first:
            done.add(number)
            yield first[number], question
        first[number] = question


def served(pairs: Sequence[Two], frame: str, rule: MayServe, models: Models) -> int:
    """Return how many pairs hit: the second question gets the answer to the first one.

    Each question is sent inside `frame`, in place of `{}`.
    """
    hits = 0
    with proxied(2 * len(pairs), rule, models) as (client, desk):
        for number, both in enumerate(pairs):
            plans = [
                Plan(frame.replace("{}", q.text), "an answer", f"pair {number}", is_ideal_hit=False)
                for q in both
            ]
            _, reply = [ask(client, desk, plan, {}) for plan in plans]
            hits += reply.is_hit
    return hits


@contextmanager
def _models(settings: Settings) -> Iterator[Models]:
    with operators_models(settings) as models:
        verifier = Remembered(models.verifier) if models.verifier else None
        yield Models(Memo(models.embedder), verifier)


def report(pairs: Sequence[Two], settings: Settings, rates: Sequence[float]) -> str:
    """Measure each frame with each dial, and return the table. `rates` are the dials."""
    with _models(settings) as models:
        rules = terms_of(settings, models, rates).rules(models)
        counts = [
            [served(pairs, frame, rule, models) for rule in rules] for frame in FRAMES.values()
        ]
    rows = [
        [name, *(str(Share(count, len(pairs))) for count in row)]
        for name, row in zip(FRAMES, counts, strict=True)
    ]
    return table(["frame", *(f"dial {rule.error_rate or 0:g}" for rule in rules)], rows)


def main() -> None:
    """Run the measurement with the options of the command line, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--groups", type=Path, default=BENCHMARK)
    parser.add_argument("--error-rate", type=float, nargs="*", default=[0.01, 0.05, 0.1])
    given = parser.parse_args()
    questions = shuffled(list(questions_of(read_groups(given.groups))))
    pairs = list(islice(rewordings(questions), given.pairs))
    print(report(pairs, Settings(), given.error_rate))


if __name__ == "__main__":
    main()
