"""What is cached, by path: the dialect that is spoken there."""

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
"""What is cached, by path, whatever the settings."""

DEPLOYED: Mapping[str, Dialect] = MappingProxyType(
    {
        CHAT_COMPLETIONS: ChatCompletions(needs_model=False),
        COMPLETIONS: Completions(needs_model=False),
        EMBEDDINGS: Embeddings(needs_model=False),
    }
)
"""What is cached where the path names a deployment, and so the model."""


def dialects_of(*, responses_by_meaning: bool, messages_exact_only: bool) -> Mapping[str, Dialect]:
    """Return all that is cached, by path."""
    return {
        **DIALECTS,
        MESSAGES: Messages(exact_only=messages_exact_only),
        RESPONSES: Responses(by_meaning=responses_by_meaning),
    }
