"""A reranker on a server, which replaces the verifier that Reprise ships.

Requests use the API of Hugging Face's Text Embeddings Inference or, if a model is named, the API of
Cohere and Jina:
https://huggingface.github.io/text-embeddings-inference/#/Text%20Embeddings%20Inference/rerank,
https://docs.cohere.com/reference/rerank, https://api.jina.ai/redoc#tag/rerank.
"""

import json
import math
from collections.abc import Sequence
from contextlib import aclosing

from app.core.calibration import Calibration, lengths_of
from app.core.errors import DependencyFailed, NotUnderstood
from app.core.models import ClientRequest, StoredText
from app.core.ports import Upstream
from app.dialects.strict_json import JsonObject, load_json
from app.inference.answers import (
    JSON_HEADERS,
    LIKELY_WINDOW,
    SHORTEST_WINDOW,
    TOO_LONG,
    read_answer,
)

_OK = 200


class RemoteVerifier:
    """Asks a server about all candidates of a question at once. Callers' credentials are not sent.

    The server's model is a reranker: its score says how relevant one text is to another text. The
    score does not say whether both texts ask the same. The calibration turns the score into a
    probability.
    """

    def __init__(self, server: Upstream, calibration: Calibration, model: str = "") -> None:
        self.calibration = calibration
        self._server = server
        self._model = model

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return for each candidate the probability, 0 to 1, that its answer serves `asked`.

        The probability is 0 if `asked` and the candidate's question may be too long for the server.
        All probabilities are 0 if the server reports that a text is too long. Raises
        DependencyFailed if the server gives no valid answer. Also raises the errors of the HTTP
        client.
        """
        seen = [c for c in candidates if self._sees(asked, c.text)]
        scores = await self._scores(asked, [c.text for c in seen]) if seen else None
        if scores is None:
            return [0.0] * len(candidates)
        try:
            told = {
                candidate: self.calibration.probability(
                    score, candidate.distance, lengths_of(asked, candidate.text)
                )
                for candidate, score in zip(seen, scores, strict=True)
            }
        except ValueError as error:
            raise DependencyFailed(
                "its scores do not fit the calibration; run `reprise calibrate` again"
            ) from error
        return [told.get(candidate, 0.0) for candidate in candidates]

    def _sees(self, asked: str, text: str) -> bool:
        """Whether the server will surely not truncate these two texts without an error.

        Requests to Hugging Face's server forbid truncation. If a text is too long, this server
        reports an error. Other servers may truncate silently, so only texts that are short enough
        are safe.
        """
        return not self._model or len(asked.encode()) + len(text.encode()) <= LIKELY_WINDOW

    def _body(self, asked: str, texts: Sequence[str]) -> JsonObject:
        if self._model:
            return {"model": self._model, "query": asked, "documents": texts}
        return {"query": asked, "texts": texts, "truncate": False}

    async def _scores(self, asked: str, texts: Sequence[str]) -> Sequence[float] | None:
        """Return a score for each text, or None if the server reports that a text is too long.

        Raises DependencyFailed if the server gives no valid answer. Also raises the errors of the
        HTTP client.
        """
        body = json.dumps(self._body(asked, texts)).encode()
        request = ClientRequest("POST", b"", b"", JSON_HEADERS, body)
        async with aclosing(await self._server.send(request)) as response:
            if response.status_code == _OK:
                return _read_scores(await read_answer(response), len(texts))
        longest = len(asked.encode()) + max(len(text.encode()) for text in texts)
        if response.status_code in TOO_LONG and longest > SHORTEST_WINDOW:
            return None
        raise DependencyFailed(f"it answered with status {response.status_code}")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()


def _read_scores(answer: bytes, count: int) -> Sequence[float]:
    """Return the scores in an answer, in the order of the texts.

    `answer` may be in the format of either API. Raises DependencyFailed unless `answer` has one
    finite score for each of the `count` texts.
    """
    scores: dict[int, float] = {}
    try:
        document = load_json(answer)
        items = document if isinstance(document, list) else document["results"]
        for item in items:
            score = item["score"] if "score" in item else item["relevance_score"]
            if isinstance(item["index"], bool) or isinstance(score, bool):
                raise TypeError
            scores[item["index"]] = float(score)
        told = [scores[index] for index in range(count)]
    except (NotUnderstood, LookupError, TypeError, ValueError, OverflowError) as error:
        raise DependencyFailed("its answer does not contain a score for each text") from error
    if len(items) != count or not all(map(math.isfinite, told)):
        raise DependencyFailed("its answer does not contain a score for each text")
    return told
