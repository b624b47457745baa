"""The client `crewai`."""

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, MODEL, get_weather, run

model = LLM(model=f"openai/{MODEL}", base_url=BASE_URL, api_key=API_KEY)


class Weather(BaseModel):
    city: str
    degrees: int


def crew(question: str, *, stream: bool = False, **fields) -> Crew:
    agent = Agent(role="Guide", goal="Answer", backstory="Brief.", llm=model, max_iter=3, **fields)
    task = Task(description=question, expected_output="An answer.", agent=agent)
    return Crew(agents=[agent], tasks=[task], stream=stream)


def chat(question: str) -> str:
    return str(crew(question).kickoff())


def stream(question: str) -> dict:
    streamed = crew(question, stream=True).kickoff()
    pieces = [chunk.content for chunk in streamed if chunk.content]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    return str(crew(question, tools=[tool("get_weather")(get_weather)]).kickoff())


def structured(question: str) -> dict:
    told = model.call(question, response_model=Weather)
    told = Weather.model_validate_json(told) if isinstance(told, str) else told
    return told.model_dump()


run(chat=chat, stream=stream, tools=tools, structured=structured, errors=model.call)
