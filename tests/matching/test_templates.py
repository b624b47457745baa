"""Which part of a text is the slot in a framework's frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.matching.templates import Template, template_of

DOCUMENTS = "Valkey is a fork of Redis.\n\nQuestions about it are answered.\nTask forces meet."

FRAMES = [
    "Use the context to answer the question.\nQuestion: {} \nContext: {d} \nAnswer:",
    "Use the context to answer it at the end.\n\n{d}\n\nQuestion: {}\nHelpful Answer:",
    "Context information is below.\n-----\n{d}\n-----\nAnswer the query.\nQuery: {}\nAnswer: ",
    "{d}\n\n---\n\nAnswer the question based on the above context: {}",
    "[[ ## context ## ]]\n{d}\n\n[[ ## question ## ]]\n{}\n\nRespond with `[[ ## answer ## ]]`.",
    "\nCurrent Task: {}\n\nThis is the expected criteria for your final answer: short\n\nThought:",
    "Question: the input question\nObservation: the result\n\nQuestion: {}\nThought:",
    "New task:\n{}",
    "Current conversation:\nHuman: hi\nAI: hello\nHuman: {}\nAI:",
    "USER'S INPUT\n------------\nHere is the user's input (reply with JSON):\n\n{}",
    "Chat History:\nHuman: hi\nFollow Up Input: {}\nStandalone question:",
    "### Task:\nRespond.\n\n<context>\n{d}\n</context>\n\n<user_query>\n{}\n</user_query>\n",
    "Q: What is 2?\nA: 2\nQ: {}\nA:",
    "{}\n\nSources:\n{d}",
    "{}\n\nUse the following references if it helps:\n<references>\n{d}\n</references>",
    "Below is an instruction.\n\n### Instruction:\n{}\n\n### Response:",
    "**Context:** {d}\n\n**Question:** {}\n\n**Answer:**",
    "User's question is: {}\n\nContext is: {d}\n",
]


@pytest.mark.parametrize("frame", FRAMES)
def test_the_slot_of_a_usual_frame_is_found(frame: str) -> None:
    text = frame.format("What is Valkey?", d=DOCUMENTS)
    expected = frame.format("\0", d=DOCUMENTS)
    assert template_of(text) == Template(expected, "What is Valkey?")


@pytest.mark.parametrize(
    "text",
    [
        "What is Valkey?",
        "I have a question. What is Valkey?",
        "Valkey: what is it?",
        "Question:",
        "<question> </question>",
        "Message: hello\nReply:",
        "Question: a\0b",
    ],
)
def test_other_texts_have_no_slot(text: str) -> None:
    assert template_of(text) is None


@pytest.mark.parametrize("frame", ["{d}\n\n{}", "{}\n\n{d}"])
def test_a_question_beside_much_else_is_the_slot(frame: str) -> None:
    much, little = DOCUMENTS * 10, "It is fast."
    text = frame.format("What is Valkey?", d=much)
    assert template_of(text) == Template(frame.format("\0", d=much), "What is Valkey?")
    assert template_of(frame.format("Valkey.", d=much)) is None
    assert template_of(frame.format("What is Valkey?", d=little)) is None


@given(st.text(), st.sampled_from(FRAMES))
def test_a_frame_with_its_slot_is_the_text(text: str, frame: str) -> None:
    whole = frame.format(text, d=text)
    if found := template_of(whole):
        assert found.frame.replace("\0", found.slot) == whole
