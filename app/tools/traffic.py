"""Reads requests and answers from logs.

A log may have bodies of OpenAI's API, messages, prompts, or lines from LiteLLM or Langfuse.

Each reader takes one line of a log. The reader returns an Exchange or, if the line cannot be
replayed, the reason. `reprise rehearse` counts the reasons.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app.api.paths import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, RESPONSES, route_of
from app.core.errors import BadInput
from app.dialects.strict_json import JsonObject
from app.tools.exchange import (
    Exchange,
    Unusable,
    answer_in,
    chat_exchange,
    exchange_of,
    parameters_in,
    parsed,
    time_in,
    time_of,
)
from app.tools.jsonl import read_lines
from app.tools.logged_usage import langfuses_usage

_OK = 200
_CALLS = MappingProxyType(
    {
        "completion": CHAT_COMPLETIONS,
        "anthropic_messages": CHAT_COMPLETIONS,  # they are logged in the form of chat
        "text_completion": COMPLETIONS,
        "responses": RESPONSES,
        "embedding": EMBEDDINGS,
    }
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The exchanges of one log, sorted by time, and the number of unusable lines by reason."""

    file: str
    exchanges: Sequence[Exchange]
    unusable: Mapping[str, int]


def read_traffic(path: Path) -> Traffic:
    """Read a log. The format of each line is recognised. Raises BadInput if no line is usable."""
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
    """Yield exchanges sorted by time.

    An exchange without a time gets the time of the exchange before it in the log.
    """
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
    at = time_of(document)
    if at is None and isinstance(response, dict):
        at = time_in(response.get("created", response.get("created_at")))
    answer = response if isinstance(response, dict) else answer_in(response, body, path)
    return exchange_of(document, path, body, answer, at)


def from_conversation(document: JsonObject) -> Exchange | Unusable:
    """Read `{"messages": …}`, as for fine-tuning.

    If the last message is from the assistant, it is the answer.
    """
    messages, answer = document["messages"], document.get("response")
    if messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        messages, answer = messages[:-1], messages[-1]
    return chat_exchange(document, document, messages, answer)


def from_prompt(document: JsonObject) -> Exchange | Unusable:
    """Read `{"prompt": …}`, optionally with `time`, `answer`, `model`, `user`, `seconds`."""
    prompt = document["prompt"]
    if not isinstance(prompt, str) or not prompt.strip():
        return "no-prompt"
    answer = next(
        (document[n] for n in ("answer", "response", "completion") if n in document), None
    )
    return chat_exchange(document, document, [{"role": "user", "content": prompt}], answer)


def from_litellm(document: JsonObject) -> Exchange | Unusable:
    """Read LiteLLM's StandardLoggingPayload, or a row of its LiteLLM_SpendLogs.

    https://docs.litellm.ai/docs/proxy/logging_spec
    """
    if document.get("status") not in (None, "", "success"):
        return "failed"
    call = str(document["call_type"])
    path = _CALLS.get(call) or _CALLS.get(call.removeprefix("a"))  # such as `acompletion`
    if path is None:
        return "other-route"
    parameters, metadata = (parsed(document.get(n)) for n in ("model_parameters", "metadata"))
    parameters = parameters if isinstance(parameters, dict) else {}
    metadata = metadata if isinstance(metadata, dict) else {}
    model = str(document.get("model") or "")
    asked = {
        "model": document.get("model_group") or model,
        "user": document.get("end_user"),
        **parameters,
    }
    caller = document.get("api_key") or metadata.get("user_api_key_hash")
    line = {**document, "caller": caller}
    messages, answer = parsed(document.get("messages")), parsed(document.get("response"))
    answer = answer or None  # spend logs have `{}` if they do not store content
    if path == CHAT_COMPLETIONS:
        read = chat_exchange(line, asked, messages, answer)
    else:
        read = _from_litellms_messages(line, path, asked, messages, answer)
    sold_as = model.removeprefix(f"{document.get('custom_llm_provider')}/")
    return replace(read, sold_as=sold_as) if isinstance(read, Exchange) else read


def _from_litellms_messages(
    line: JsonObject, path: str, asked: JsonObject, messages: Any, answer: Any
) -> Exchange | Unusable:
    """Return an exchange of a route other than chat completions.

    LiteLLM logs the inputs of such a route as if they were messages. The vectors of embeddings are
    not read: nothing is compared with them, and some are not lists of numbers but encoded.
    """
    if isinstance(messages, str):
        messages = [{"content": messages}]
    if not isinstance(messages, list) or not messages:
        return "no-prompt"
    body = parameters_in(asked)
    if path == RESPONSES:
        body["input"] = messages
        return exchange_of(line, path, body, answer_in(answer, body, path), time_of(line))
    texts = [one.get("content") if isinstance(one, dict) else None for one in messages]
    if not all(isinstance(text, str) for text in texts):
        return "no-prompt"
    if path == EMBEDDINGS:
        return exchange_of(line, path, {**body, "input": texts}, None, time_of(line))
    body["prompt"] = texts[-1]
    return exchange_of(line, path, body, answer_in(answer, body, path), time_of(line))


def from_langfuse(document: JsonObject) -> Exchange | Unusable:
    """Read an observation from Langfuse's API or from an export of Langfuse.

    In an export, the names of the fields have underscores.
    https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields
    """
    if document["type"] != "GENERATION":
        return "not-a-generation"
    if document.get("level") == "ERROR":
        return "failed"
    given, answer = parsed(document.get("input")), parsed(document.get("output"))
    named = parsed(document.get("modelParameters", document.get("model_parameters")))
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
    read = chat_exchange(document, asked, given, answer)
    if isinstance(read, Exchange):
        read = replace(read, usage=langfuses_usage(document, parsed(usage)))
    return read
