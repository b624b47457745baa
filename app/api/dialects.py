"""The dialect of each cached path."""

from collections.abc import Mapping
from types import MappingProxyType

from app.api.paths import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES
from app.dialects.chat_completions.request import ChatCompletions
from app.dialects.completions.request import Completions
from app.dialects.dialect import Dialect
from app.dialects.embeddings import Embeddings
from app.dialects.messages.request import Messages
from app.dialects.responses.request import Responses

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        CHAT_COMPLETIONS: ChatCompletions(),
        COMPLETIONS: Completions(),
        EMBEDDINGS: Embeddings(),
    }
)
"""The dialects that do not depend on the settings, by path."""

DEPLOYED: Mapping[str, Dialect] = MappingProxyType(
    {
        CHAT_COMPLETIONS: ChatCompletions(needs_model=False),
        COMPLETIONS: Completions(needs_model=False),
        EMBEDDINGS: Embeddings(needs_model=False),
    }
)
"""The dialects for requests to Azure's deployments, by path. A deployment has one model."""


def dialects_of(*, responses_by_meaning: bool, messages_exact_only: bool) -> Mapping[str, Dialect]:
    """Return the dialect of each cached path.

    `responses_by_meaning`: whether answers of the Responses API may be served by meaning.
    `messages_exact_only`: whether answers of Anthropic's API are served by exact match only.
    """
    return {
        **DIALECTS,
        MESSAGES: Messages(exact_only=messages_exact_only),
        RESPONSES: Responses(by_meaning=responses_by_meaning),
    }
