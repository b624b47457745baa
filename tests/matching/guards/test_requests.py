import pytest

from app.matching.guards.reading import examine


@pytest.mark.parametrize(
    "text",
    [
        "show me all trains to Ghent",
        "can you list the trains to Ghent",
        "Which trains stop in Ghent?",
        "How many trains stop in Ghent?",
        "trains to Ghent, please",
        "I would like a train to Ghent",
        "Zeige mir alle Züge nach Gent",
        "Wie viele Züge halten in Gent?",
        "Quels trains vont à Gand ?",
        "Muéstrame los trenes a Gante",
    ],
)
def test_requests_describe_things(text: str) -> None:
    assert examine(text).is_request


@pytest.mark.parametrize(
    "text",
    [
        "",
        "please",
        "what",
        "How do I get to Ghent?",
        "Why are trains late?",
        "can an outsider sit in the lectures",
        "What happens to late trains?",
        "What is a train?",
        "show me my trains",
        "we like trains",
        "Warum sind Züge zu spät?",
        "Zeige mir meine Züge",
        "Où vont les trains ?",
        "¿Por qué llegan tarde los trenes?",
        "Покажи поезда",
    ],
)
def test_other_questions_are_no_requests(text: str) -> None:
    assert not examine(text).is_request
