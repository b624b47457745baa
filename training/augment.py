"""Pairs made out of one question: with one that looks like it, or the same in other words."""

from collections.abc import Sequence
from random import Random

from training.lookalikes import Words, other
from training.pairs import Labelled, plain
from training.rewordings import SAME

_VERBS = (
    "need help like love want call follow support trust blame hire fire visit join leave praise "
    "accuse warn thank ask pay owe attack defend replace"
).split()
_SAME, _TWO, _ALSO = 0.4, 0.05, 0.3  # shares of what is made


def make(texts: Sequence[str], count: int, rng: Random) -> list[Labelled]:
    """Make about `count` pairs out of texts, two in five the same."""
    words = Words.of(texts)
    changes, names = other(words), words.names.get(0, [])
    made: list[Labelled] = []
    for _ in range(20 * count):
        if len(made) >= count:
            break
        if names and rng.random() < _TWO:
            made.append(_of_two(names, rng))
            continue
        text = rng.choice(texts)
        same = rng.random() < _SAME
        change = rng.choice(SAME if same else changes)
        changed = change(text, rng)
        if changed is None or (not same and plain(changed) == plain(text)) or changed == text:
            continue
        # A look-alike may be framed or misspelt as well: neither must tell it apart.
        if rng.random() < _ALSO:
            changed = rng.choice(SAME)(changed, rng) or changed
        made.append(Labelled(text, changed, same, f"made:{'same' if same else 'other'}"))
    return made


def _of_two(names: Sequence[str], rng: Random) -> Labelled:
    """Ask who does what to whom, in the active and the passive voice."""
    one, other, verb = rng.choice(names), rng.choice(names), rng.choice(_VERBS)
    done = {"leave": "left", "pay": "paid", "fire": "fired", "hire": "hired"}.get(
        verb, verb[:-1] + "ied" if verb[-2:] == "ry" else verb + ("d" if verb[-1] == "e" else "ed")
    )
    active, same = f"Did {one} {verb} {other}?", rng.random() < 0.5
    doer, other_one = (one, other) if same else (other, one)
    passive = f"Was {other_one} {done} by {doer}?"
    turned = f"Did {doer} {verb} {other_one}?"
    return Labelled(
        active, turned if not same and rng.random() < 0.3 else passive, same, "made:two"
    )
