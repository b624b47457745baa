"""The dialect of text completions, and the fields of its requests that the cache reads.

https://platform.openai.com/docs/api-reference/completions/create
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Replay
from app.dialects import chunked
from app.dialects.chunked import ChunksReader, Form, WithoutUsage
from app.dialects.completions.chunks import CompletionBuilder, chunks_of
from app.dialects.completions.fitness import judged, why_not_stored
from app.dialects.documents import DocumentReader
from app.dialects.fields import field_of, unknown, without_defaults
from app.dialects.openai import treatment_of, without_neutral
from app.dialects.strict_json import load_object

_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "best_of": 1,
        "echo": False,
        "frequency_penalty": 0,
        "logit_bias": {},
        "n": 1,
        "presence_penalty": 0,
        "stop": [],
        "temperature": 1,
        "top_p": 1,
    }
)
_NULLABLE = frozenset({*_DEFAULTS, "logprobs", "max_tokens", "seed", "suffix"})

# Marks of a conversation written into the prompt. Such a prompt must match exactly.
_TURNS = re.compile(
    r"<\|[a-z_]+\|>|\[/?INST\]|<start_of_turn>"
    r"|^[ \t]*(?:human|user|assistant|system|ai|bot)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """The parsed body of a text completion request; `document` is the whole body.

    `texts` contains the prompt if the prompt may be matched by meaning. It is None if the prompt
    must match exactly.
    """

    document: Mapping[str, Any] = field(repr=False)
    model: str
    texts: Sequence[str] | None = field(repr=False)
    choices: int
    temperature: float | None
    stream: bool
    include_usage: bool

    messages_field = "prompt"

    @classmethod
    def parse(cls, body: bytes, *, needs_model: bool = True) -> "CompletionRequest":
        """Parse the body of a request; `needs_model` is False if the path names the model.

        Raises NotUnderstood (`not-json`, `ambiguous-json`, `too-complex`, `unknown-body`).
        """
        document = load_object(body)
        model = field_of(document, "model", str) or ("" if not needs_model else unknown())
        options = field_of(document, "stream_options", dict) or {}
        n = field_of(document, "n", int)
        return cls(
            document=document,
            model=model,
            texts=_texts(document),
            choices=_prompts(document.get("prompt")) * (1 if n is None else n),
            temperature=field_of(document, "temperature", int, float),
            stream=field_of(document, "stream", bool) or False,
            include_usage=field_of(options, "include_usage", bool) or False,
        )

    @property
    def form(self) -> Form:
        """The form of the answer that the request asks for."""
        return Form(self.stream, self.stream and self.include_usage)

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body in canonical form, without neutral fields and without `texts`."""
        told = without_neutral(self.document)
        if isinstance(told.get("stop"), str):
            told["stop"] = [told["stop"]]
        if self.texts is not None:
            told["prompt"] = {"end": _end(self.texts[0])}  # replaces the text; no prompt is a dict
        return without_defaults(told, _DEFAULTS, _NULLABLE)

    @property
    def end_user(self) -> Sequence[Any]:
        """The values in the body that identify the end user."""
        return [self.document.get("user"), self.document.get("safety_identifier")]

    @property
    def treatment(self) -> str:
        """A digest of the fields that change the handling of the request, but not the answer."""
        return treatment_of(self.document)

    @property
    def question(self) -> str:
        """The prompt.

        If the request has a list of prompts, the prompts that are texts are joined by line ends.
        """
        prompt = self.document.get("prompt")
        prompts = prompt if isinstance(prompt, list) else [prompt]
        return "\n".join(text for text in prompts if isinstance(text, str))

    @property
    def instructions(self) -> Sequence[str]:
        """Empty: a completion request has no text other than the prompt."""
        return ()

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None if it may use the cache."""
        is_wild = self.temperature is not None and self.temperature > max_temperature
        return "temperature" if is_wild else None

    def reader(self, *, is_stream: bool) -> ChunksReader | DocumentReader:
        """Return a reader for a stream of chunks if `is_stream`, else for a JSON document."""
        judge = partial(judged, choices=self.choices, entitled=self.form.entitled)
        return ChunksReader(CompletionBuilder(), judge) if is_stream else DocumentReader(judge)

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render `content`, a stored completion, in the form that the request asks for.

        `ParsedRequest.render` explains the parameters. Raises ValueError if `content` is invalid.
        """
        envelope = {"id": f"cmpl-{nonce}", "object": "text_completion", "created": int(now)}
        if not self.stream:
            return chunked.replay_document(content, status, envelope)
        cut = partial(chunks_of, include_usage=self.include_usage)
        return chunked.replay_chunks(content, status, envelope, cut)

    def narrowing(self, leader: object) -> WithoutUsage | None:
        """Return a filter that changes a stream from form `leader` to the form of this request.

        `leader` is the form in which the upstream sends the answer. The result is None if no filter
        can make this change.
        """
        return chunked.narrowing(leader, self.form)


class Completions:
    """The dialect of `POST /v1/completions`.

    `needs_model` is False if the path, not the body, names the model.
    """

    name = "completion"

    def __init__(self, *, needs_model: bool = True) -> None:
        self._needs_model = needs_model

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported completion must not be stored, or None if it may be stored."""
        choices = content.get("choices")
        return why_not_stored(content, len(choices) if isinstance(choices, list) else 0)

    def parse(self, body: bytes) -> CompletionRequest:
        """Parse the body of a request. Raises NotUnderstood."""
        return CompletionRequest.parse(body, needs_model=self._needs_model)


def _texts(document: Mapping[str, Any]) -> list[str] | None:
    """Return a list with the prompt; None if the prompt must not be matched by meaning.

    The result is None if the request sets `echo` or `suffix`, because these fields make the answer
    depend on each word of the prompt. It is also None if the prompt is not one text, or
    if the prompt is a conversation written as one text.
    """
    prompt = document.get("prompt")
    if not isinstance(prompt, str) or field_of(document, "echo", bool):
        return None
    return None if field_of(document, "suffix", str) or _TURNS.search(prompt) else [prompt]


def _end(text: str) -> str:
    """Return the punctuation and white space at the end of a prompt.

    The completion continues directly after these characters.
    """
    return text[len(text.rstrip(string.punctuation + string.whitespace)) :]


def _prompts(prompt: object) -> int:
    """Return the number of prompts in the field `prompt` of a request.

    One prompt is a text or a list of tokens. A missing prompt counts as one. Raises NotUnderstood
    if `prompt` is neither a prompt nor a list of prompts.
    """
    if prompt is None or isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt:
        unknown()
    if all(type(token) is int for token in prompt):
        return 1
    kind = str if isinstance(prompt[0], str) else list
    return len(prompt) if all(isinstance(item, kind) for item in prompt) else unknown()
