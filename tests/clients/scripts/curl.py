"""The client `curl`."""

import json
import subprocess

from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, run

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def command(path: str, document: dict) -> list[str]:
    headers = ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {API_KEY}"]
    return ["curl", "-sSN", f"{BASE_URL}/{path}", *headers, "-d", json.dumps(document)]


def ask(path: str, **document) -> dict:
    done = subprocess.run(command(path, document), capture_output=True, check=True)
    reply = json.loads(done.stdout)
    if "error" in reply:
        raise RuntimeError(reply["error"]["message"])
    return reply


def asked(question: str) -> dict:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]}


def message(question: str, **fields) -> dict:
    return ask("chat/completions", **asked(question), **fields)["choices"][0]["message"]


def stream(question: str) -> dict:
    request = command("chat/completions", {**asked(question), "stream": True})
    done = subprocess.run(request, capture_output=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(b"data: {")]
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in lines]
    pieces = [delta["content"] for delta in deltas if delta.get("content")]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def structured(question: str) -> dict:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
    return json.loads(message(question, response_format=form)["content"])


def tools(question: str) -> str:
    return message(question, tools=[TOOL])["tool_calls"][0]["function"]["arguments"]


def cancel(question: str) -> str:
    request = command("chat/completions", {**asked(question), "stream": True})
    with subprocess.Popen(request, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if b"Once" in line:
                process.kill()
                return line.decode()
    return ""


run(
    chat=lambda question: message(question)["content"],
    stream=stream,
    tools=tools,
    structured=structured,
    embeddings=lambda text: ask("embeddings", model=EMBEDDING_MODEL, input=text)["data"][0][
        "embedding"
    ],
    errors=lambda question: ask("chat/completions", **asked(question)),
    cancel=cancel,
)
