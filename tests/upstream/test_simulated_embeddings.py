import base64
import json
from typing import Any

import numpy as np
import pytest

from app.upstream.simulated_embeddings import answer_embeddings, embed_words


def ask(texts: Any, **fields: Any) -> dict[str, Any]:
    return answer_embeddings(json.dumps({"model": "m", "input": texts, **fields}).encode())


def distance(a: str, b: str) -> float:
    return 1 - float(embed_words(a) @ embed_words(b))


def test_texts_that_share_words_are_near() -> None:
    assert distance("What is Valkey?", "what is valkey") == pytest.approx(0, abs=1e-6)
    assert 0.01 < distance("What is Valkey?", "Can you explain what Valkey is?") < 0.1
    assert distance("What is Valkey?", "How do I cook pasta?") > 0.8


@pytest.mark.parametrize("text", ["What is Valkey?", "?", "密码"])
@pytest.mark.parametrize("dimensions", [1, 8, 1536, 3072])
def test_an_embedding_has_the_promised_form(text: str, dimensions: int) -> None:
    embedding = embed_words(text, dimensions)
    assert embedding.shape == (dimensions,)
    assert embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("one text", ["one text"]),
        (["one", "two"], ["one", "two"]),
        ([1, 2], ["1 2"]),
        ([[1, 2], [3]], ["1 2", "3"]),
    ],
)
def test_every_input_has_its_embedding_in_order(texts: Any, words: list[str]) -> None:
    answer = ask(texts)
    assert [item["index"] for item in answer["data"]] == list(range(len(words)))
    for item, word in zip(answer["data"], words, strict=True):
        np.testing.assert_array_equal(np.float32(item["embedding"]), embed_words(word))
    tokens = sum(len(word.split()) for word in words)
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_both_forms_hold_the_same_numbers() -> None:
    (numbers,) = ask("text", dimensions=8)["data"]
    (written,) = ask("text", dimensions=8, encoding_format="base64")["data"]
    assert len(numbers["embedding"]) == 8
    decoded = np.frombuffer(base64.b64decode(written["embedding"]), "<f4")
    np.testing.assert_array_equal(np.float32(numbers["embedding"]), decoded)
