"""In a cache that all callers share, an attacker's stored answers are served to nobody else.

`python -m benchmarks.attacks` makes the same attacks on two hundred victims.
"""

import random

from app.adapters import verifier_for
from app.inference.local_embedder import LocalEmbedder, LocalEncoder
from app.settings import FixedSettings
from app.tools.groups import BENCHMARK, read_groups
from app.tools.memo import Memo
from benchmarks.attacks import DEFENCES, Models, SuffixSearch, plans, successes

VICTIMS = 3


def test_what_is_planted_reaches_nobody_and_would_where_distance_alone_decides() -> None:
    embedder = LocalEmbedder()
    models = Models(Memo(embedder), verifier_for(FixedSettings(), embedder.name))
    shipped, *_, alone = DEFENCES
    served_alone = 0
    for _, planned in plans(read_groups(BENCHMARK)[:VICTIMS], seed=0):
        assert successes(planned, shipped, models).count == 0
        served_alone += successes(planned, alone, models).count
    assert served_alone > 0


def test_words_can_be_found_that_bring_a_question_nearer() -> None:
    embed = LocalEncoder().embed
    draw = random.Random(0)  # noqa: S311 - no secret
    own, victim = "How do I cook pasta?", "What is Valkey?"
    found = SuffixSearch(embed, list("abcdefghijklmnop")).near(own, victim, draw)
    before, after, target = (embed(text) for text in (own, found, victim))
    assert before is not None
    assert after is not None
    assert target is not None
    assert after @ target > before @ target + 0.3
