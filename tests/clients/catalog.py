"""The clients of the lab: the packages of each, and the script that runs it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Client:
    """A client. The newest versions of its `packages` are installed into an environment.

    `shown` is the package whose version is in the table. `api` is the API that the client uses.
    """

    name: str
    script: str
    packages: tuple[str, ...] = ()
    shown: str = ""
    api: Literal["chat", "messages", "responses"] = "chat"

    @property
    def environment(self) -> str:
        """The name of the environment: that of the first client with the same packages."""
        return next(other.name for other in CLIENTS if other.packages == self.packages)

    @property
    def kind(self) -> Literal["python", "node"]:
        return "node" if self.script.endswith(".mjs") else "python"


CLIENTS = (
    Client("curl", "curl.py"),
    Client("openai", "openai_python.py", ("openai",), "openai"),
    Client(
        "openai-responses", "openai_responses_python.py", ("openai",), "openai", api="responses"
    ),
    Client("openai-node", "openai_node.mjs", ("openai", "zod"), "openai"),
    Client(
        "openai-node-responses",
        "openai_responses_node.mjs",
        ("openai", "zod"),
        "openai",
        api="responses",
    ),
    Client("anthropic", "anthropic_python.py", ("anthropic",), "anthropic", api="messages"),
    Client(
        "anthropic-node",
        "anthropic_node.mjs",
        ("@anthropic-ai/sdk", "zod"),
        "@anthropic-ai/sdk",
        api="messages",
    ),
    Client("ai-sdk", "ai_sdk.mjs", ("ai", "@ai-sdk/openai", "zod"), "ai"),
    Client(
        "ai-sdk-responses",
        "ai_sdk.mjs",
        ("ai", "@ai-sdk/openai", "zod"),
        "ai",
        api="responses",
    ),
    Client(
        "langchain",
        "langchain_python.py",
        ("langchain", "langchain-openai"),
        "langchain-openai",
    ),
    Client(
        "langchain-js",
        "langchain_node.mjs",
        ("langchain", "@langchain/openai", "@langchain/core", "zod"),
        "@langchain/openai",
    ),
    Client(
        "pydantic-ai", "pydantic_ai_python.py", ("pydantic-ai-slim[openai]",), "pydantic-ai-slim"
    ),
    Client(
        "pydantic-ai-responses",
        "pydantic_ai_python.py",
        ("pydantic-ai-slim[openai]",),
        "pydantic-ai-slim",
        api="responses",
    ),
    Client("litellm", "litellm_python.py", ("litellm",), "litellm"),
    Client("instructor", "instructor_python.py", ("instructor",), "instructor"),
    Client("openai-agents", "openai_agents_python.py", ("openai-agents",), "openai-agents"),
    Client(
        "openai-agents-responses",
        "openai_agents_python.py",
        ("openai-agents",),
        "openai-agents",
        api="responses",
    ),
    Client(
        "openai-agents-js",
        "openai_agents_node.mjs",
        ("@openai/agents", "zod"),
        "@openai/agents",
        api="responses",
    ),
    Client(
        "llama-index",
        "llama_index_python.py",
        ("llama-index-core", "llama-index-llms-openai-like", "llama-index-embeddings-openai"),
        "llama-index-core",
    ),
    Client("llm", "llm_python.py", ("llm",), "llm"),
    Client("smolagents", "smolagents_python.py", ("smolagents[openai]",), "smolagents"),
    Client("haystack", "haystack_python.py", ("haystack-ai",), "haystack-ai"),
    Client(
        "autogen", "autogen_python.py", ("autogen-ext[openai]", "autogen-agentchat"), "autogen-ext"
    ),
    Client("dspy", "dspy_python.py", ("dspy", "numpy"), "dspy"),
    Client("semantic-kernel", "semantic_kernel_python.py", ("semantic-kernel",), "semantic-kernel"),
    Client("crewai", "crewai_python.py", ("crewai",), "crewai"),
)
