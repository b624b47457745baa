"""The text of an answer, read from the stored form of each dialect."""

import json
from typing import Any

import pytest

from app.dialects.said import said_in
from tests.dialects.messages import message
from tests.fakes import completion
from tests.responding import message as output
from tests.responding import part, reasoning, response

CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Ghent"}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (completion("Paris."), "Paris."),
        (completion(None), ""),
        ({"choices": [{"text": "Paris."}, {"text": "Ghent."}]}, "Paris.\n\nGhent."),
        (message(THOUGHT, {"type": "text", "text": "Paris."}), "Paris."),
        (message(CALL), '{"city": "Ghent"}'),
        (response(reasoning("Hm."), output(part("Paris."))), "Paris."),
    ],
)
def test_the_texts_of_an_answer_are_what_it_says(document: Any, said: str) -> None:
    assert said_in(json.dumps(document).encode()) == said
