"""Reads requests and answers from logs: OpenAI's bodies, LiteLLM's and Langfuse's, or prompts.

Each reader takes one line and returns an Exchange, or the reason why the line cannot be replayed,
which `reprise rehearse` counts. Values that a log does not have are None or empty.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from app.api.paths import CHAT_COMPLETIONS, COMPLETIONS, route_of
from app.core.errors import BadInput
from app.dialects.said import said_in
from app.dialects.strict_json import JsonObject
from app.tools.jsonl import read_lines

Unusable = Literal["failed", "no-prompt", "other-route", "not-a-generation", "unknown-shape"]
"""Why a line of a log cannot be replayed. docs/rehearse.md explains each value."""

_MODEL = "unknown"  # the model if a log does not name it
_OK = 200
_MOST_PARAMETERS = frozenset(
    {
        *("temperature", "top_p", "n", "seed", "stop", "max_tokens", "max_completion_tokens"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"),
        *("functions", "function_call", "system"),
    }
)
"""The parameters that are taken from a log's list; others there are not parameters of the API."""
_CALLS = MappingProxyType({"completion": CHAT_COMPLETIONS, "text_completion": COMPLETIONS})
_MILLISECONDS, _MICROSECONDS = 1e11, 1e14  # a time of at least this is in that unit
_TIMES = ("time", "timestamp", "at", "created_at", "created", "start_time", "startTime")
_SECONDS = ("seconds", "duration", "latency")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer.

    `path`, `body`: the request's.
    `answer`: the JSON document of the API.
    `at`: the time of the request, in seconds since 1970; None if unknown.
    `seconds`: how long the answer took.
    `caller`: a name for the caller.
    """

    path: str
    body: JsonObject
    answer: JsonObject | None = None
    at: float | None = None
    seconds: float | None = None
    caller: str = ""
    namespace: str = ""

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
        """The text of the answer; empty if the log does not have it."""
        return said_in(json.dumps(self.answer).encode()) if self.answer else ""

    @property
    def tokens(self) -> tuple[int, int]:
        """The numbers of input and output tokens by the answer's `usage`; 0 if unknown."""
        usage = (self.answer or {}).get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return (
            _count(usage, "prompt_tokens", "input_tokens"),
            _count(usage, "completion_tokens", "output_tokens"),
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """The exchanges of one log, sorted by time, and the number of unusable lines by reason."""

    file: str
    exchanges: Sequence[Exchange]
    unusable: Mapping[str, int]


def read_traffic(path: Path) -> Traffic:
    """Read a log; the format of each line is recognised. Raises BadInput if no line is usable."""
    unusable: Counter[str] = Counter()
    exchanges: list[Exchange] = []
    for line in read_lines(path):
        read = read_exchange(line.document)
        if isinstance(read, Exchange):
            exchanges.append(read)
        else:
            unusable[read] += 1
    if not exchanges:
        told = ", ".join(f"{count} {reason}" for reason, count in unusable.items())
        raise BadInput(f"{path}: no line can be replayed ({told})")
    return Traffic(str(path), list(_in_order(exchanges)), dict(unusable))


def _in_order(exchanges: Sequence[Exchange]) -> Iterator[Exchange]:
    """Yield exchanges sorted by time; one without a time gets that of the one before it."""
    now = next((e.at for e in exchanges if e.at is not None), 0.0)
    timed = []
    for exchange in exchanges:
        now = now if exchange.at is None else exchange.at
        timed.append((now, replace(exchange, at=now)))
    return (exchange for _, exchange in sorted(timed, key=lambda pair: pair[0]))


def read_exchange(document: JsonObject) -> Exchange | Unusable:
    """Read a line in any of the known formats."""
    if "call_type" in document:
        return from_litellm(document)
    if ("traceId" in document or "trace_id" in document) and "type" in document:
        return from_langfuse(document)
    if isinstance(document.get("request"), dict) or isinstance(document.get("body"), dict):
        return from_bodies(document)
    if isinstance(document.get("messages"), list):
        return from_conversation(document)
    return from_prompt(document) if "prompt" in document else "unknown-shape"


def from_bodies(document: JsonObject) -> Exchange | Unusable:
    """Read `{"request": …, "response": …}` with bodies of the API, or a line of a batch file.

    https://developers.openai.com/api/docs/guides/batch
    """
    request = document.get("request", document)
    body = request.get("body", request)
    if not isinstance(body, dict):
        return "no-prompt"
    told = next((document[n] for n in ("url", "route", "path") if n in document), None)
    path = route_of(str(told or request.get("url") or CHAT_COMPLETIONS))
    if path is None:
        return "other-route"
    response = document.get("response")
    if isinstance(response, dict) and isinstance(response.get("body"), dict):
        if response.get("status_code", _OK) != _OK:
            return "failed"
        response = response["body"]
    if document.get("error") or (isinstance(response, dict) and response.get("error")):
        return "failed"
    at = _time_of(document)
    if at is None and isinstance(response, dict):
        at = _time(response.get("created", response.get("created_at")))
    answer = response if isinstance(response, dict) else _said(response, body, path)
    return _exchange(document, path, body, answer, at)


def from_conversation(document: JsonObject) -> Exchange | Unusable:
    """Read `{"messages": …}`, as for fine-tuning. A last message of the assistant is the answer."""
    messages, answer = document["messages"], document.get("response")
    if messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        messages, answer = messages[:-1], messages[-1]
    return _chat(document, document, messages, answer)


def from_prompt(document: JsonObject) -> Exchange | Unusable:
    """Read `{"prompt": …}`, optionally with `time`, `answer`, `model`, `user`, `seconds`."""
    prompt = document["prompt"]
    if not isinstance(prompt, str) or not prompt.strip():
        return "no-prompt"
    answer = next(
        (document[n] for n in ("answer", "response", "completion") if n in document), None
    )
    return _chat(document, document, [{"role": "user", "content": prompt}], answer)


def from_litellm(document: JsonObject) -> Exchange | Unusable:
    """Read LiteLLM's StandardLoggingPayload, or a row of its LiteLLM_SpendLogs.

    https://docs.litellm.ai/docs/proxy/logging_spec
    """
    if document.get("status") not in (None, "", "success"):
        return "failed"
    path = _CALLS.get(str(document["call_type"]).removeprefix("a"))  # such as `acompletion`
    if path is None:
        return "other-route"
    parameters = _parsed(document.get("model_parameters"))
    parameters = parameters if isinstance(parameters, dict) else {}
    model = document.get("model_group") or document.get("model")
    asked = {"model": model, "user": document.get("end_user"), **parameters}
    metadata = _parsed(document.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    caller = document.get("api_key") or metadata.get("user_api_key_hash")
    document = {**document, "caller": caller}
    messages, answer = _parsed(document.get("messages")), _parsed(document.get("response"))
    answer = answer or None  # spend logs have `{}` if they do not store content
    if path == COMPLETIONS:
        if isinstance(messages, list) and messages:
            messages = messages[-1].get("content") if isinstance(messages[-1], dict) else None
        if not isinstance(messages, str):
            return "no-prompt"
        body = {**_parameters(asked), "prompt": messages}
        return _exchange(document, path, body, _said(answer, body, path), _time_of(document))
    return _chat(document, asked, messages, answer)


def from_langfuse(document: JsonObject) -> Exchange | Unusable:
    """Read an observation from Langfuse's API, or from an export, whose names have underscores.

    https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields
    """
    if document["type"] != "GENERATION":
        return "not-a-generation"
    if document.get("level") == "ERROR":
        return "failed"
    given, answer = _parsed(document.get("input")), _parsed(document.get("output"))
    named = _parsed(document.get("modelParameters", document.get("model_parameters")))
    asked = dict(named) if isinstance(named, dict) else {}
    names = ("model", "providedModelName", "provided_model_name")
    asked["model"] = next((document[name] for name in names if document.get(name)), None)
    asked["user"] = document.get("userId") or document.get("user_id")
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        asked |= {name: value for name, value in given.items() if name != "messages"}
        given = given["messages"]
    if isinstance(answer, list) and answer:
        answer = answer[-1]
    usage = document.get("usageDetails") or document.get("usage_details") or document.get("usage")
    usage = _parsed(usage)
    usage = usage if isinstance(usage, dict) else {}
    told = {"prompt_tokens": _count(usage, "input"), "completion_tokens": _count(usage, "output")}
    return _chat({**document, "usage": told}, asked, given, answer)


def _chat(line: JsonObject, asked: JsonObject, messages: Any, answer: Any) -> Exchange | Unusable:
    """Return an exchange of chat messages; a text counts as one message of the user."""
    if isinstance(messages, str) and messages.strip():
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return "no-prompt"
    body = {**_parameters(asked), "messages": messages}
    document = _said(answer, body, CHAT_COMPLETIONS)
    if document is not None and not document.get("usage"):
        document = {**document, "usage": _usage(line)}
    return _exchange(line, CHAT_COMPLETIONS, body, document, _time_of(line))


def _exchange(
    line: JsonObject, path: str, body: JsonObject, answer: JsonObject | None, at: float | None
) -> Exchange:
    """Return an exchange whose request is not streamed, because a log has whole answers."""
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
    )


def _parameters(asked: JsonObject) -> JsonObject:
    """Return the API's parameters in a log's list; numbers written as texts become numbers."""
    told: JsonObject = {}
    for name, value in asked.items():
        if name in {"model", "user"} and isinstance(value, str) and value:
            told[name] = value
        elif name in _MOST_PARAMETERS and value is not None:
            number = _number(value) if isinstance(value, str) and name != "stop" else None
            is_told = isinstance(value, str) and name.startswith(("max_", "temp", "top_"))
            if number is not None or not is_told:  # some logs write "Infinity" for no limit
                told[name] = value if number is None else number
    return told


def _said(answer: Any, body: Mapping[str, Any], path: str) -> JsonObject | None:
    """Return an answer in the API's format, made from a log's record; None if that has none."""
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
    """Return a text completion in the API's format; LiteLLM logs it in the chat format."""
    choices = []
    for choice in answer["choices"]:
        told = dict(choice) if isinstance(choice, dict) else {}
        if isinstance(message := told.pop("message", None), dict):
            told["text"] = message.get("content")
        choices.append(told)
    return {**answer, "object": "text_completion", "choices": choices}


def _usage(line: JsonObject) -> JsonObject:
    usage = line.get("usage") if isinstance(line.get("usage"), dict) else line
    asked, told = (_count(usage or {}, n) for n in ("prompt_tokens", "completion_tokens"))
    return {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}


def _parsed(value: Any) -> Any:
    """Parse a text that is JSON, as in the columns of exports; return any other value unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _count(usage: Mapping[str, Any], *names: str) -> int:
    told = next((usage[name] for name in names if name in usage), 0)
    return int(told) if isinstance(told, int | float) and math.isfinite(told) else 0


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_of(line: JsonObject) -> float | None:
    """Return the seconds that an answer took, by times or duration in the line, or None."""
    ends = [_time(line.get(name)) for name in ("endTime", "end_time", "ended_at")]
    end, begin = next((t for t in ends if t is not None), None), _time_of(line)
    if end is not None and begin is not None:
        return max(0.0, end - begin)
    for name in _SECONDS:
        for key, times in ((name, 1.0), (f"{name}_ms", 0.001)):
            if isinstance(told := line.get(key), int | float):
                return float(told) * times
    return None


def _time_of(line: JsonObject) -> float | None:
    told = (_time(line.get(name)) for name in _TIMES)
    return next((time for time in told if time is not None), None)


def _time(value: Any) -> float | None:
    """Return a time in seconds since 1970; None if it cannot be read.

    It may be in seconds, milliseconds or microseconds since 1970, or in ISO 8601 (by default UTC).
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return _time(_number(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    if value >= _MICROSECONDS:
        return value / 1e6
    return value / 1e3 if value >= _MILLISECONDS else float(value)
