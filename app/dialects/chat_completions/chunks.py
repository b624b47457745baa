"""Chat completions: joins chunks into a completion and cuts a completion into chunks, without loss.

A *completion* here is the JSON object of a chat completion without `id`, `object` and `created`:
each replay sets these fields anew. Unknown fields are kept unchanged. The formats:
https://platform.openai.com/docs/api-reference/chat/object
https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import NotUnderstood
from app.dialects import chunked
from app.dialects.chat_completions.logprobs import Logprobs
from app.dialects.strict_json import JsonObject

# Fields that are never sent in pieces. Some servers repeat the whole value in each chunk.
_WHOLE = frozenset({"finish_reason", "format", "id", "index", "name", "role", "type"})
_IN_EVERY_CHUNK = frozenset({"model", "system_fingerprint", "service_tier"})


class CompletionBuilder:
    """Builds a completion from the chunks of one stream.

    Deltas are joined by the rules of OpenAI's own SDKs: strings and lists are concatenated. Objects
    are merged, and so are list entries with the same `index`. The builder refuses chunks that
    cannot be joined by these rules.
    """

    def __init__(self) -> None:
        self._fields: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}
        self._messages: dict[int, JsonObject] = {}

    def add(self, chunk: object) -> None:
        """Take the next chunk. Raises NotUnderstood (`unknown-body`) if the chunk is invalid."""
        if not isinstance(chunk, dict):
            raise NotUnderstood("unknown-body")
        choices = chunk.get("choices")
        if choices is None and isinstance(chunk.get("usage"), dict) and not chunk.get("error"):
            choices = []  # some servers send the usage at the end in a chunk without `choices`
        if not isinstance(choices, list):
            raise NotUnderstood("unknown-body")
        for name, value in chunked.without_envelope(chunk).items():
            if name != "choices" and (value is not None or name not in self._fields):
                self._fields[name] = value
        for choice in choices:
            self._add_choice(choice)

    def _add_choice(self, choice: object) -> None:
        if not isinstance(choice, dict) or not isinstance(choice.get("index"), int):
            raise NotUnderstood("unknown-body")
        index = choice["index"]
        known = self._choices.setdefault(index, {})
        message = self._messages.setdefault(index, {"role": None, "content": None})
        if isinstance(delta := choice.get("delta"), dict):
            _join(message, delta)
        for name, value in choice.items():
            if name == "message":
                raise NotUnderstood("unknown-body")
            if name in {"logprobs", "finish_reason"}:
                known[name] = _joined(name, known.get(name), value)
            elif name not in {"index", "delta"} and (value is not None or name not in known):
                known[name] = value

    def completion(self) -> JsonObject:
        """Return the completion that is made of all chunks so far."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            message = _finished(self._messages[index])
            message["role"] = message["role"] or "assistant"
            if isinstance(calls := message.get("tool_calls"), list):
                message["tool_calls"] = _in_order(calls)
            choices.append({"index": index, **_finished(choice), "message": message})
        return {**self._fields, "choices": choices}


def _in_order(calls: list[Any]) -> list[JsonObject]:
    """Return tool calls in the order of their `index`, and without the field `index`.

    Tool calls have this field only in chunks. Raises NotUnderstood if a call lacks it.
    """
    if not all(isinstance(call, dict) and isinstance(call.get("index"), int) for call in calls):
        raise NotUnderstood("unknown-body")
    calls = sorted(calls, key=lambda call: call["index"])
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]


class _Text(list[str]):
    """The pieces of a string that have arrived so far. They are joined once, at the end."""


class _Entries(dict[int, JsonObject]):
    """The entries of a list that have arrived so far, each under its `index`."""


def _join(known: JsonObject, delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        known[name] = _joined(name, known.get(name), value)


def _joined(name: str, known: Any, new: Any) -> Any:
    """Return the value of a field, joined with the value of the same field in the next chunk.

    `name` is the name of the field. `known` is the value from all chunks so far, or None. `new` is
    the value in the next chunk. A list or dict in `known` is changed in place. Raises NotUnderstood
    if the values cannot be joined.
    """
    if new is None:
        return known
    if isinstance(new, str) and name not in _WHOLE and isinstance(known, _Text | None):
        text = _Text() if known is None else known
        text.append(new)
        return text
    if isinstance(new, list):
        return _joined_lists(known, new)
    if isinstance(new, dict) and isinstance(known, dict | None) and not isinstance(known, _Entries):
        merged = {} if known is None else known
        _join(merged, new)
        return merged
    # Some servers repeat the role, the id or the name in every chunk: equal values are ignored.
    if known in (None, "") or new in (known, ""):
        return new if known in (None, "") else known
    raise NotUnderstood("unknown-body")


def _joined_lists(known: Any, new: list[Any]) -> Any:
    told_by_index = bool(new) and all(
        isinstance(entry, dict) and isinstance(entry.get("index"), int) for entry in new
    )
    if told_by_index and (not known or isinstance(known, _Entries)):
        entries = known or _Entries()
        for entry in new:
            _join(entries.setdefault(entry["index"], {}), entry)
        return entries
    if known is None:
        return [*new]
    if not isinstance(known, list) or isinstance(known, _Text):
        raise NotUnderstood("unknown-body")
    known.extend(new)
    return known


def _finished(value: Any) -> Any:
    """Return a value as plain JSON: `_Text` becomes a string, and `_Entries` becomes a list."""
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, _Entries):
        return [_finished(entry) for entry in value.values()]
    if isinstance(value, dict):
        return {name: _finished(item) for name, item in value.items()}
    return value


def chunks_of(completion: Mapping[str, Any], *, include_usage: bool) -> Iterator[JsonObject]:
    """Cut a completion into the chunks of a stream; return the chunks without the envelope.

    The first chunk of a choice has the role and all other fields that are sent whole. The next
    chunks have the texts of the choice, in pieces of up to 64 characters. A piece ends at white
    space or, if there are log probabilities, at the end of a token. After the texts come the tool
    calls, one in each chunk. The last chunk of the choice has the finish reason. With
    `include_usage`, the usage comes in a chunk after all choices.
    """
    return chunked.chunks_of(
        completion, _choice_chunks, _IN_EVERY_CHUNK, include_usage=include_usage
    )


def _choice_chunks(choice: Mapping[str, Any]) -> Iterator[JsonObject]:
    message: Mapping[str, Any] = choice["message"]
    texts = {n: v for n, v in message.items() if isinstance(v, str) and n not in _WHOLE}
    opening = {n: "" if n in texts else v for n, v in message.items()}
    calls = opening.pop("tool_calls") if _has_calls(message) else []
    rest = {n: v for n, v in choice.items() if n not in {"index", "message", "finish_reason"}}
    base = {"index": choice["index"], **dict.fromkeys(rest)}
    # Logprobs are not sent in the opening chunk: OpenAI's own SDK would count them twice.
    told = rest.pop("logprobs") if isinstance(choice.get("logprobs"), dict) else {}
    logprobs = Logprobs(told)
    yield {**base, **rest, "delta": opening, "finish_reason": None}
    # First thoughts, then content, then calls: some clients show them in the order of arrival.
    for name in sorted(texts, key=lambda name: name == "content"):
        for piece, of_piece in logprobs.pieces(name, texts[name]):
            beside = {"logprobs": of_piece} if of_piece else {}
            yield {**base, **beside, "delta": {name: piece}, "finish_reason": None}
    for index, call in enumerate(calls):
        yield {**base, "delta": {"tool_calls": [{**call, "index": index}]}, "finish_reason": None}
    beside = {"logprobs": left} if (left := logprobs.rest()) else {}
    yield {**base, **beside, "delta": {}, "finish_reason": choice.get("finish_reason")}


def _has_calls(message: Mapping[str, Any]) -> bool:
    calls = message.get("tool_calls")
    return isinstance(calls, list) and bool(calls)
