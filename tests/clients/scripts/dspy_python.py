"""The client `dspy`, without its own cache."""

import dspy
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

HERE = {"api_base": BASE_URL, "api_key": API_KEY}
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
dspy.configure(lm=dspy.LM(f"openai/{MODEL}", cache=False, num_retries=0, **HERE))


class Weather(dspy.Signature):
    """Tell the weather."""

    question: str = dspy.InputField()
    city: str = dspy.OutputField()
    degrees: int = dspy.OutputField()


def chat(question: str) -> str:
    return dspy.Predict("question -> answer")(question=question).answer


async def stream(question: str) -> dict:
    listener = dspy.streaming.StreamListener(signature_field_name="answer")
    program = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])
    told = [piece async for piece in program(question=question)]
    pieces = [piece.chunk for piece in told if isinstance(piece, dspy.streaming.StreamResponse)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    signature = dspy.Signature("question, tools: list[dspy.Tool] -> calls: dspy.ToolCalls")
    with dspy.context(adapter=dspy.ChatAdapter(use_native_function_calling=True)):
        told = dspy.Predict(signature)(question=question, tools=[dspy.Tool(get_weather)])
    return str(told.calls.tool_calls[0].args)


def structured(question: str) -> dict:
    with dspy.context(adapter=dspy.JSONAdapter()):
        told = dspy.Predict(Weather)(question=question)
    return {"city": told.city, "degrees": told.degrees}


def embeddings(text: str) -> list[float]:
    embedder = dspy.Embedder(f"openai/{EMBEDDING_MODEL}", caching=False, **HERE)
    return embedder([text])[0].tolist()


run(
    chat=chat,
    stream=stream,
    tools=tools,
    structured=structured,
    embeddings=embeddings,
    errors=chat,
)
