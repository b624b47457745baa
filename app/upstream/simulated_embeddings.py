"""The embeddings of the simulated upstream: texts that share words are near each other.

Each word has a pseudo-random direction, computed from the word's digest. The embedding of a text is
the weighted sum of the directions of its words, scaled to unit length.
"""

import base64
import hashlib
import re

import numpy as np

from app.core.errors import NotUnderstood
from app.core.models import Embedding
from app.dialects.strict_json import JsonObject, load_json

_DIMENSIONS, _MOST_DIMENSIONS = 1536, 3072
_MOST_INPUTS = 2048
_WORD = re.compile(r"\w+")

# Question words and other fillers have less weight, so that paraphrases are near each other.
_FILLER = re.compile(r"an?|are|can|could|does|do|explain|how|i|is|me|of|tell|the|to|what|you")
_FILLER_WEIGHT = 0.2


def embed_words(text: str, dimensions: int = _DIMENSIONS) -> Embedding:
    """Return the embedding of a text: shape (dimensions,), unit length."""
    total = np.zeros(dimensions)
    for word in _WORD.findall(text.lower()) or [text]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        direction = np.random.default_rng(seed).standard_normal(dimensions)
        total += direction * (_FILLER_WEIGHT if _FILLER.fullmatch(word) else 1.0)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


def answer_embeddings(body: bytes) -> JsonObject:
    """Return the answer to an embeddings request in OpenAI's format.

    Raises NotUnderstood if `body`, the body of the request, is not valid.
    """
    document = load_json(body)
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        raise NotUnderstood("unknown-body")
    dimensions = document.get("dimensions", _DIMENSIONS)
    form = document.get("encoding_format", "float")
    if type(dimensions) is not int or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise NotUnderstood("unknown-body")
    if form not in ("float", "base64"):
        raise NotUnderstood("unknown-body")
    texts = [_text(item) for item in _inputs(document.get("input"))]
    vectors = [embed_words(text, dimensions) for text in texts]
    asked = sum(len(text.split()) for text in texts)  # words in place of tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vector, form)}
            for index, vector in enumerate(vectors)
        ],
        "model": document["model"],
        "usage": {"prompt_tokens": asked, "total_tokens": asked},
    }


def _inputs(told: object) -> list[object]:
    """Return the field `input` of a request as a list of inputs.

    A text is a single input, and so is a list of tokens. Any other list is returned unchanged.
    Raises NotUnderstood if there are no inputs or too many inputs.
    """
    if isinstance(told, str) or (isinstance(told, list) and all(type(t) is int for t in told)):
        told = [told]
    if not isinstance(told, list) or not 1 <= len(told) <= _MOST_INPUTS:
        raise NotUnderstood("unknown-body")
    return told


def _text(item: object) -> str:
    """Return an input as a text. A list of tokens becomes its numbers, separated by spaces.

    Raises NotUnderstood if the input is neither a text nor a list of tokens, or is empty.
    """
    if isinstance(item, list) and all(type(token) is int for token in item):
        item = " ".join(map(str, item))
    if not isinstance(item, str) or not item:
        raise NotUnderstood("unknown-body")
    return item


def _written(vector: Embedding, form: str) -> str | list[float]:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
