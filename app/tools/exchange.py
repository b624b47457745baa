"""An exchange: a request and its answer, made from one line of a log.

Values that a log does not have are None or empty.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from app.api.paths import CHAT_COMPLETIONS, COMPLETIONS, RESPONSES
from app.core.models import Usage
from app.dialects.said import said_in
from app.dialects.strict_json import JsonObject
from app.tools.logged_usage import usage_in_line

Unusable = Literal["failed", "no-prompt", "other-route", "not-a-generation", "unknown-shape"]
"""Why a line of a log cannot be replayed. docs/rehearse.md explains each value."""

_MODEL = "unknown"  # the model if a log does not name it
_MOST_PARAMETERS = frozenset(
    {
        *("temperature", "top_p", "n", "seed", "stop", "max_tokens", "max_completion_tokens"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"),
        *("functions", "function_call", "system", "dimensions", "previous_response_id"),
        *("instructions", "max_output_tokens", "reasoning", "text"),
    }
)
"""The parameters, besides `model` and `user`, that are taken from a log's list of parameters."""
_TEXTS = frozenset({"stop", "system", "instructions", "previous_response_id"})
_MILLISECONDS, _MICROSECONDS = 1e11, 1e14  # a time of at least this is in that unit
_TIMES = ("time", "timestamp", "at", "created_at", "created", "start_time", "startTime")
_SECONDS = ("seconds", "duration", "latency")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer.

    `path`, `body`: the path and body of the request.
    `answer`: the answer in the API's format; None if the log does not have it.
    `at`: the time of the request, in seconds since 1970; None if unknown.
    `seconds`: how long the answer took.
    `caller`: a name for the caller.
    `usage`: the answer's token counts.
    `sold_as`: the provider's name for the model; empty if the log has only the client's name for
    it.
    """

    path: str
    body: JsonObject
    answer: JsonObject | None = None
    at: float | None = None
    seconds: float | None = None
    caller: str = ""
    namespace: str = ""
    usage: Usage | None = None
    sold_as: str = ""

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.body.get("model", _MODEL))

    @property
    def prompt(self) -> str:
        """The last message or prompt, as a text to show."""
        told = self.body.get("messages") or self.body.get("prompt") or self.body.get("input")
        if isinstance(told, list) and told and isinstance(told[-1], dict):
            told = told[-1].get("content")
        return told if isinstance(told, str) else json.dumps(told)

    @property
    def said(self) -> str:
        """The text of the answer; empty if the log does not have that text."""
        return said_in(json.dumps(self.answer).encode()) if self.answer else ""


def chat_exchange(
    line: JsonObject, asked: JsonObject, messages: Any, answer: Any
) -> Exchange | Unusable:
    """Return an exchange of chat messages.

    If `messages` is a string, it counts as one message of the user. `line` is the line of the log,
    `asked` has the parameters, and `answer` is what the log recorded. If the line cannot be
    replayed, return the reason.
    """
    if isinstance(messages, str) and messages.strip():
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return "no-prompt"
    body = {**parameters_in(asked), "messages": messages}
    document = answer_in(answer, body, CHAT_COMPLETIONS)
    return exchange_of(line, CHAT_COMPLETIONS, body, document, time_of(line))


def exchange_of(
    line: JsonObject, path: str, body: JsonObject, answer: JsonObject | None, at: float | None
) -> Exchange:
    """Return an exchange made from a line of a log.

    Its request does not ask for a stream, because a log has whole answers.
    """
    caller = next((line[n] for n in ("caller", "key", "api_key") if line.get(n)), "")
    body = {name: v for name, v in body.items() if name not in {"stream", "stream_options"}}
    namespace = line.get("namespace", "")
    return Exchange(
        path=path,
        body={"model": _MODEL, **body},
        answer=answer,
        at=at,
        seconds=_seconds_of(line),
        caller=str(caller),
        namespace=namespace if isinstance(namespace, str) else "",
        usage=usage_in_line(line, answer),
    )


def parameters_in(asked: JsonObject) -> JsonObject:
    """Return those fields of `asked` that are parameters of the API.

    `asked` comes from a log. Numbers that the log has as strings become numbers.
    """
    told: JsonObject = {}
    for name, value in asked.items():
        if name in {"model", "user"} and isinstance(value, str) and value:
            told[name] = value
        elif name in _MOST_PARAMETERS and value is not None:
            number = _number(value) if isinstance(value, str) and name not in _TEXTS else None
            is_told = isinstance(value, str) and name.startswith(("max_", "temp", "top_"))
            if number is not None or not is_told:  # some logs write "Infinity" for no limit
                told[name] = value if number is None else number
    return told


def answer_in(answer: Any, body: Mapping[str, Any], path: str) -> JsonObject | None:
    """Return an answer in the API's format, made from what a log recorded as the answer.

    `body` and `path` are those of the request. Return None if the log recorded no answer.
    """
    if path == RESPONSES:
        is_answer = isinstance(answer, dict) and isinstance(answer.get("output"), list)
        return answer if is_answer else None
    if isinstance(answer, dict) and isinstance(answer.get("choices"), list):
        return _as_completion(answer) if path == COMPLETIONS else answer
    if isinstance(answer, str) and answer.strip() and not answer.startswith("redacted-by-"):
        answer = {"role": "assistant", "content": answer}
    if not isinstance(answer, dict) or not (answer.get("content") or answer.get("tool_calls")):
        return None
    choice: JsonObject = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if path == COMPLETIONS:
        choice |= {"text": answer["content"]}
    elif path == CHAT_COMPLETIONS:
        choice |= {"message": {"role": "assistant", "content": None, **answer}}
        choice["finish_reason"] = "tool_calls" if answer.get("tool_calls") else "stop"
    else:
        return None
    kind = "text_completion" if path == COMPLETIONS else "chat.completion"
    model = body.get("model", _MODEL)
    return {"id": "logged", "object": kind, "created": 0, "model": model, "choices": [choice]}


def _as_completion(answer: JsonObject) -> JsonObject:
    """Return a text completion in the API's format, made from one in the chat format.

    LiteLLM logs text completions in the chat format.
    """
    choices = []
    for choice in answer["choices"]:
        told = dict(choice) if isinstance(choice, dict) else {}
        if isinstance(message := told.pop("message", None), dict):
            told["text"] = message.get("content")
        choices.append(told)
    return {**answer, "object": "text_completion", "choices": choices}


def parsed(value: Any) -> Any:
    """Return the value that a string of JSON encodes. Return any other value unchanged.

    Some columns of an export contain such strings.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_of(line: JsonObject) -> float | None:
    """Return how many seconds an answer took, or None if the line does not say.

    The line has either the times of the request and of the answer, or a duration.
    """
    ends = [time_in(line.get(name)) for name in ("endTime", "end_time", "ended_at")]
    end, begin = next((t for t in ends if t is not None), None), time_of(line)
    if end is not None and begin is not None:
        return max(0.0, end - begin)
    for name in _SECONDS:
        for key, times in ((name, 1.0), (f"{name}_ms", 0.001)):
            if isinstance(told := line.get(key), int | float):
                return float(told) * times
    return None


def time_of(line: JsonObject) -> float | None:
    """Return the time of the request, in seconds since 1970; None if the line does not have it."""
    told = (time_in(line.get(name)) for name in _TIMES)
    return next((time for time in told if time is not None), None)


def time_in(value: Any) -> float | None:
    """Return a time in seconds since 1970; None if `value` cannot be read.

    `value` may be in seconds, milliseconds or microseconds since 1970, or in ISO 8601 (by default
    UTC).
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return time_in(_number(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    if value >= _MICROSECONDS:
        return value / 1e6
    return value / 1e3 if value >= _MILLISECONDS else float(value)
