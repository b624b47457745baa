"""Which texts are the payload of a task, and must be the same letter for letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.matching.payload import has, makes_payload, payload_of


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("Convert to uppercase: thank you very much", "thank you very much"),
        ("British or American: colour", "colour"),
        ("Count the words: I am going", "I am going"),
        ("How many words are in: I am going", "I am going"),
        ("Is mom a palindrome?", "mom"),
        ("Is the word 'mom' a palindrome?", "mom"),
        ("How do you spell colour?", "colour"),
        ("What rhymes with orange?", "orange"),
        ("How many r's are in strawberry?", "strawberry"),
        ("How many letters does banana have?", "banana"),
        ("What is the SHA-256 hash of Hello World?", "Hello World"),
        ("translate good morning to French", "good morning"),
        ("Repeat after me: I'm here", "I'm here"),
        ("Does this regex match: ^A$", "^A$"),
        ("Rewrite this text:\nThe cat sat.", "The cat sat."),
        ("The cat sat.\nFix the grammar above.", "The cat sat."),
        ("Rephrase \u201cHe go home\u201d in plain words", "He go home"),
        ("Übersetze: guten Tag", "guten Tag"),
    ],
)
def test_what_a_task_is_done_to_is_found(text: str, payload: str) -> None:
    assert payload_of(text) == (payload,)


@pytest.mark.parametrize(
    "text",
    [
        "What is Valkey?",
        "How do I write a palindrome checker in Python?",
        "Does my desk count as a deduction?",
        "Where does Google Docs show the word count?",
        "Summarise Romeo and Juliet",
        "Spell out the abbreviation LOL",
        "Note: the shop is closed. When does it open?",
    ],
)
def test_other_questions_have_nothing_done_to_a_text(text: str) -> None:
    assert payload_of(text) == ()


@pytest.mark.parametrize(
    "instructions",
    [
        "You are a proofreader. List every mistake",
        "You are a helpful translator.",
        "Translate everything the user writes into French.",
        "Convert the text to uppercase.",
        "Count the words in the user's message.",
        "Say whether the text is British or American English",
        "Echo the user's message verbatim.",
        "Correct the grammar of each sentence.",
        "Your task is to paraphrase the input.",
        "You will be given a sentence. Rewrite it in the passive voice.",
        "Decide whether the word is a palindrome.",
        "Return the MD5 hash of the input.",
        "Return the user's text in uppercase.",
        "Tell me if the spelling is British or American.",
        "You rewrite sentences in plain English.",
        "Please proofread the following.",
        "Grade the essay's spelling.",
        "Du bist ein Übersetzer. Übersetze alles ins Englische.",
    ],
)
def test_instructions_may_make_all_that_is_said_the_object(instructions: str) -> None:
    assert makes_payload(instructions)


@pytest.mark.parametrize(
    "instructions",
    [
        "You are a helpful assistant. Answer in English.",
        "Answer the question using the context. If you do not know, say so.",
        "You are a coding assistant. Fix bugs in the user's code and find errors.",
        "You can summarize, translate and answer questions.",
        "Think step by step, and check your work for mistakes.",
        "Find files, edit text files, and correct errors. Always say what you changed.",
        "Reply in the language of the user. Do not translate names.",
        "When the user asks for it, translate the answer into German.",
        "Use British English spelling. Write in sentence case. No typos.",
        "You are a SQL expert. Convert the question to SQL.",
        "Find the right department for every message.",
        "Your answers must not contain spelling errors.",
    ],
)
def test_other_instructions_do_not(instructions: str) -> None:
    assert not makes_payload(instructions)


@pytest.mark.parametrize(
    ("text", "part", "is_there"),
    [
        ("Is momentum a palindrome?", "mom", False),
        ("Is 'mom' one?", "mom", True),
        ("mother or mom", "mom", True),
        ("Mom", "mom", False),
        ("colors, color", "color", True),
    ],
)
def test_a_part_stands_in_a_text_as_whole_words(text: str, part: str, is_there: bool) -> None:
    assert has(text, (part,)) == is_there


@given(st.text())
def test_every_text_has_its_own_payload(text: str) -> None:
    assert has(text, payload_of(text))
