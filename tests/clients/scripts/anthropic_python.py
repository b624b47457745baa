"""The client `anthropic`."""

from anthropic import Anthropic, beta_tool
from anthropic.types import Message
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, get_weather, run

client = Anthropic(base_url=BASE_URL.removesuffix("/v1"), api_key=API_KEY)


class Weather(BaseModel):
    city: str
    degrees: int


def asked(question: str) -> dict:
    messages = [{"role": "user", "content": question}]
    return {"model": "claude-sonnet-5", "max_tokens": 2000, "messages": messages}


THINKING = {"type": "enabled", "budget_tokens": 1024}


def after(message: Message) -> str:
    thought, answer = message.content
    assert thought.thinking
    assert thought.signature
    return answer.text


def chat(question: str) -> str:
    return after(client.messages.create(**asked(question), thinking=THINKING))


def stream(question: str) -> dict:
    with client.messages.stream(**asked(question), thinking=THINKING) as told:
        pieces = list(told.text_stream)
        assert "".join(pieces) == after(told.get_final_message())
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    # Without a thread at the upstream, whose answers could not serve other requests.
    runner = client.beta.messages.tool_runner(
        **asked(question), tools=[beta_tool(get_weather)], thread=False
    )
    return runner.until_done().content[0].text


def structured(question: str) -> dict:
    return client.messages.parse(
        **asked(question), output_format=Weather
    ).parsed_output.model_dump()


def cancel(question: str) -> str:
    with client.messages.stream(**asked(question)) as told:
        return next(iter(told.text_stream))


run(chat=chat, stream=stream, tools=tools, structured=structured, errors=chat, cancel=cancel)
