"""Text completions: joins chunks into a completion and cuts a completion into chunks, without loss.

A *completion* here is the JSON object of a text completion without `id`, `object` and `created`:
each replay sets these fields anew. Unknown fields are kept unchanged. The format:
https://platform.openai.com/docs/api-reference/completions/object
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import NotUnderstood
from app.dialects import chunked
from app.dialects.completions.logprobs import joined, pieces_of
from app.dialects.strict_json import JsonObject

_IN_EVERY_CHUNK = frozenset({"model", "system_fingerprint"})
_PLACED = frozenset({"index", "text", "logprobs"})


class CompletionBuilder:
    """Builds a completion from the chunks of one stream; refuses chunks that it cannot join."""

    def __init__(self) -> None:
        self._fields: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}
        self._texts: dict[int, list[str]] = {}

    def add(self, chunk: object) -> None:
        """Take the next chunk. Raises NotUnderstood (`unknown-body`) if the chunk is invalid."""
        if not isinstance(chunk, dict) or not isinstance(choices := chunk.get("choices"), list):
            raise NotUnderstood("unknown-body")
        for name, value in chunked.without_envelope(chunk).items():
            if name != "choices" and (value is not None or name not in self._fields):
                self._fields[name] = value
        for choice in choices:
            self._add_choice(choice)

    def _add_choice(self, choice: object) -> None:
        if not isinstance(choice, dict) or type(index := choice.get("index")) is not int:
            raise NotUnderstood("unknown-body")
        if not isinstance(text := choice.get("text"), str):
            raise NotUnderstood("unknown-body")
        known = self._choices.setdefault(index, {})
        self._texts.setdefault(index, []).append(text)
        if "logprobs" in choice:
            known["logprobs"] = joined(known.get("logprobs"), choice["logprobs"])
        for name, value in choice.items():
            if name in _PLACED or (value is None and name in known):
                continue
            if _is_told_in_pieces(name, known.get(name), value):
                raise NotUnderstood("unknown-body")
            known[name] = value

    def completion(self) -> JsonObject:
        """Return the completion that is made of all chunks so far."""
        choices = [
            {"index": index, "text": "".join(self._texts[index]), **choice}
            for index, choice in sorted(self._choices.items())
        ]
        return {**self._fields, "choices": choices}


def _is_told_in_pieces(name: str, known: object, new: object) -> bool:
    """Whether two values of the field `name` seem to be pieces of one value.

    `known` is the value in earlier chunks, and `new` is the value in the next chunk. If the
    result is True, the builder refuses the chunk, because it knows no rule for joining the pieces.
    """
    grows = isinstance(new, list) or name == "finish_reason"
    return grows and known is not None and known != new


def chunks_of(completion: Mapping[str, Any], *, include_usage: bool) -> Iterator[JsonObject]:
    """Cut a completion into the chunks of a stream; return the chunks without the envelope.

    The text of each choice comes in pieces. The other fields of the choice, such as the finish
    reason, come with the last piece. With `include_usage`, the usage comes in a chunk after all
    choices.
    """
    return chunked.chunks_of(
        completion, _choice_chunks, _IN_EVERY_CHUNK, include_usage=include_usage
    )


def _choice_chunks(choice: Mapping[str, Any]) -> Iterator[JsonObject]:
    rest = {n: v for n, v in choice.items() if n not in _PLACED}
    pieces = pieces_of(choice["text"], choice.get("logprobs")) or [("", None)]
    for place, (text, logprobs) in enumerate(pieces, 1):
        beside = rest if place == len(pieces) else dict.fromkeys(rest)
        of_piece = {"logprobs": logprobs} if "logprobs" in choice else {}
        yield {"index": choice["index"], "text": text, **of_piece, **beside}
