"""Groups of texts: wordings of one question, and near misses.

A near miss is a text that is similar to the question but asks something else.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import BadInput
from app.core.models import CacheKey
from app.tools.evaluate import key_of
from app.tools.jsonl import Line, read_lines

BENCHMARK = Path(__file__).parent.parent / "data" / "benchmark" / "dev.jsonl.gz"
"""The groups that ship with Reprise."""

_SEED = 0

Meaning = tuple[int, int]
"""What a text asks: the index of its group, and the index of the text in `Group.near`.

The latter index is -1 if the text is a wording of the group's question.
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Wordings of one question, near misses, and the domain to which the question belongs.

    A near miss is a similar text that needs another answer than the question.
    """

    wordings: Sequence[str]
    near: Sequence[str]
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A text of a group, the key that the proxy makes for the text, and the text's meaning."""

    text: str
    key: CacheKey
    meaning: Meaning
    domain: str = ""

    @property
    def is_wording(self) -> bool:
        """Whether this text is a wording of the group's question."""
        return self.meaning[1] < 0


def read_groups(path: Path) -> Sequence[Group]:
    """Read groups, one per line: `{"questions": [text], "near": [{"q": text}], "domain": text}`.

    A near miss may also be just a text. `near` and `domain` may be left out. Raises BadInput if the
    file is invalid.
    """
    return [_group(line) for line in read_lines(path)]


def _group(line: Line) -> Group:
    wordings, near = line.document.get("questions"), line.document.get("near", [])
    if not isinstance(near, list):
        line.refuse('"near" must be a list')
    near = [miss.get("q") if isinstance(miss, dict) else miss for miss in near]
    if not isinstance(wordings, list) or not wordings or not all(map(_is_text, wordings)):
        line.refuse('"questions" must be a list of texts')
    if not all(map(_is_text, near)):
        line.refuse('"near" must contain texts, or objects with a text "q"')
    domain = line.document.get("domain", "")
    return Group(wordings, near, domain if isinstance(domain, str) else "")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def sampled(groups: Sequence[Group], size: int) -> Sequence[Group]:
    """Return a sample of `size` groups. The same groups always give the same sample.

    Raises BadInput if there are fewer groups than `size`.
    """
    if size > len(groups):
        raise BadInput(f"--sample {size} is not allowed: there are {len(groups)} groups")
    return random.Random(_SEED).sample(groups, size)  # noqa: S311


def questions_of(groups: Sequence[Group]) -> Iterator[Question]:
    """Yield every text of the groups, without duplicates."""
    seen: set[str] = set()
    for number, group in enumerate(groups):
        texts = [(text, -1) for text in group.wordings]
        texts += [(text, miss) for miss, text in enumerate(group.near)]
        for text, miss in texts:
            key = key_of(text)
            if key.digest not in seen:
                seen.add(key.digest)
                yield Question(text, key, (number, miss), group.domain)


def shuffled(questions: Sequence[Question], seed: int = _SEED) -> Sequence[Question]:
    """Return questions in a random order that depends only on the seed."""
    order = [*questions]
    random.Random(seed).shuffle(order)  # noqa: S311
    return order
