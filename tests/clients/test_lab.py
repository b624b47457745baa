"""The lab's own parts: the Responses of its upstream, and its judgement of repeated acts."""

from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.clients.catalog import CLIENTS
from tests.clients.lab import Act, meant
from tests.clients.responses import Conversations, events_of
from tests.servers import Exchange

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
QUESTION = {"model": "m", "input": "Look up Paris."}
TOOL = {"type": "function", "name": "get_weather", "parameters": {}, "strict": False}
NAMED = ("id", "type", "status", "arguments")
SCOPE: Any = {"method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
FORM = {"type": "json_schema", "name": "w", "schema": {"properties": {"city": {}}}, "strict": True}


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL]}, {"text": {"format": FORM}}])
def test_the_official_sdk_knows_every_event_and_adds_them_up(fields: Any) -> None:
    told = Conversations().response_of({**QUESTION, **fields}, 1)
    Response.model_validate(told)
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    for event in events_of(told):
        last = state.handle_event(EVENT.validate_python(event))[-1]
    assert last.type == "response.completed"
    (item,), (expected,) = last.response.output, told["output"]
    assert last.response.output_text == Response.model_validate(told).output_text
    assert {n: item.to_dict().get(n) for n in NAMED} == {n: expected.get(n) for n in NAMED}


def test_what_is_stored_goes_on_and_each_tool_is_called_once() -> None:
    upstream = Conversations()
    first = upstream.response_of({**QUESTION, "tools": [TOOL]}, 1)
    (call,) = first["output"]
    assert call["name"] == "get_weather"
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "21"}
    more: Any = {"model": "m", "tools": [TOOL]}
    refers = [{"type": "item_reference", "id": call["id"]}, result]
    for asked in (
        {**more, "input": [result], "previous_response_id": first["id"]},
        {**more, "input": refers},
    ):
        (message,) = upstream.response_of(asked, 2)["output"]
        assert message["content"][0]["text"] == "Reply 2: 21"
    unstored = upstream.response_of({**QUESTION, "store": False}, 3)
    with pytest.raises(KeyError, match="resp_lab_3"):
        upstream.response_of({**QUESTION, "previous_response_id": unstored["id"]}, 4)


def act(*, is_found: bool) -> Act:
    async def nothing(*_: Any) -> Any: ...

    asked = Exchange(SCOPE, nothing, nothing)
    return Act({"value": "Reply 1"}, [] if is_found else [asked])


@pytest.mark.parametrize(
    ("found", "cell"),
    [
        ({"chat": True}, "ok"),
        ({"chat": False}, "miss: why"),
        ({"chat": False, "unstored": True}, "`store: false`"),
        ({"chat": False, "unstored": False}, "miss: why"),
        ({"chat": True, "unstored": True}, "found, though the upstream stores it"),
    ],
)
def test_by_meaning_only_what_the_upstream_does_not_store_may_be_found(
    found: dict[str, bool], cell: str
) -> None:
    reworded = {name: act(is_found=is_found) for name, is_found in found.items()}
    assert meant(reworded, "why") == cell


def test_each_client_has_a_name_of_its_own_and_may_share_its_packages() -> None:
    assert len({client.name for client in CLIENTS}) == len(CLIENTS)
    shared = {client.name: client.environment for client in CLIENTS if client.packages}
    assert shared["openai-agents-responses"] == shared["openai-agents"] == "openai-agents"
