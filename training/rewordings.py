"""Questions made out of one that ask the same in other words."""

import re
from collections.abc import Sequence
from random import Random

from training.lookalikes import Change, put

_SHORT = {
    "what is": "what's", "how is": "how's", "where is": "where's", "who is": "who's",
    "it is": "it's", "i am": "i'm", "do not": "don't", "does not": "doesn't", "is not": "isn't",
    "can not": "can't", "cannot": "can't", "i would": "i'd", "i have": "i've", "that is": "that's",
    "will not": "won't", "should not": "shouldn't", "are not": "aren't", "did not": "didn't",
}  # fmt: skip
_LONG = {short: long for long, short in _SHORT.items()}
_FRAMES = (
    "{} please", "please: {}", "hi, {}", "hello! {}", "{} thanks", "hey, quick question: {}",
    "{} thank you in advance", "i have a question: {}", "question: {}", "so, {}", "ok, {}",
)  # fmt: skip
_QUESTION_FRAMES = (
    "can you tell me: {}", "could you please tell me, {}", "i would like to know: {}",
    "do you know {}", "please tell me {}", "i want to know {}", "tell me {}", "i'm wondering {}",
    "does anyone know {}",
)  # fmt: skip
_EXPLAINING = (
    "explain {}", "explain {} to me", "please explain {}", "can you explain {}", "what's {}",
    "tell me what {} is", "can you tell me what {} is", "define {}", "could you explain what {} is",
)  # fmt: skip
_WHAT_IS = re.compile(r"^(?:what is|what's) (?P<s>(?:\w+[ -]?){1,4}\w)\?*$", re.IGNORECASE)
_HOW = (
    ("how do i", "how can i"), ("how do i", "how to"), ("how can i", "how to"),
    ("how do you", "how to"), ("how do i", "what is the best way to"),
    ("how to", "what is the way to"), ("how can i", "what should i do to"),
    ("is there a way to", "can i"), ("what are", "which are"),
    ("list", "show me"), ("find", "search for"), ("show", "display"), ("show me", "give me"),
    ("i want to", "i would like to"), ("i need to", "i have to"), ("delete", "remove"),
)  # fmt: skip


_LISTED = re.compile(r"(?<![\w.])(?P<a>[\w'-]+) (?P<m>and|or) (?P<b>(?!why|how)[\w'-]+)(?=[?!,]|$)")


def plainer(text: str, rng: Random) -> str | None:
    """Change case and punctuation only."""
    return rng.choice((text.lower(), text.rstrip("?.! "), text.lower().rstrip("?.! "), text + "?"))


def contracted(text: str, rng: Random) -> str | None:
    """Write "what is" as "what's", or the other way round."""
    table = list((_SHORT if rng.random() < 0.5 else _LONG).items())
    rng.shuffle(table)
    return _replaced(text, table)


def asked_otherwise(text: str, rng: Random) -> str | None:
    """Change how it begins: "how do I" to "how can I"."""
    table = [pair if rng.random() < 0.5 else pair[::-1] for pair in _HOW]
    rng.shuffle(table)
    return _replaced(text, [(f"^{old}", new) for old, new in table])


def _replaced(text: str, table: Sequence[tuple[str, str]]) -> str | None:
    for old, new in table:
        changed = re.sub(rf"(?<!\w){old}\b", new, text, count=1, flags=re.IGNORECASE)
        if changed != text:
            return changed
    return None


def framed(text: str, rng: Random) -> str | None:
    """Be polite, greet, or ask to be told."""
    asks = text.casefold().startswith(("what", "how", "why", "where", "who", "when", "which"))
    frame = rng.choice(_QUESTION_FRAMES if asks and rng.random() < 0.6 else _FRAMES)
    inner = text[0].lower() + text[1:] if rng.random() < 0.6 else text
    return frame.format(inner)


def explained(text: str, rng: Random) -> str | None:
    """Ask "What is X?" as "Explain X"."""
    match = _WHAT_IS.match(text)
    return rng.choice(_EXPLAINING).format(match["s"]) if match else None


def misspelt(text: str, rng: Random) -> str | None:
    """Swap, drop or double a letter inside a long lower-case word."""
    found = list(re.finditer(r"\b[a-z]{5,}\b", text))
    if not found:
        return None
    match = rng.choice(found)
    word, at = match.group(), rng.randrange(1, len(match.group()) - 2)
    typo = rng.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
    )
    return put(text, match.span(), typo)


def reordered(text: str, _: Random) -> str | None:
    """Turn "A and B" round."""
    match = _LISTED.search(text)
    if match is None:
        return None
    changed = f"{match['b']} {match['m']} {match['a']}"
    return text[: match.start()] + changed + text[match.end() :]


SAME: Sequence[Change] = (
    plainer, contracted, asked_otherwise, framed, framed, explained, explained, misspelt, reordered,
)  # fmt: skip
