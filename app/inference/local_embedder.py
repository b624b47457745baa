"""The embedding model that ships with Reprise."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.models import Embedding, Header
from app.core.offload import Threads
from app.inference.onnx import LONGEST, WholeTexts, load_network

_MODEL = Path(__file__).parent.parent / "data" / "all-MiniLM-L6-v2"
TOKENIZER = _MODEL / "tokenizer.json"
_QUEUE = 64  # texts; embedding a short one takes 1 to 2 ms, a long one 50 ms
_PATIENCE = 0.5  # seconds in the queue; beyond that, a cache miss is faster


class LocalEncoder:
    """The network all-MiniLM-L6-v2 (int8), run by onnxruntime on one text at a time.

    Texts are not batched: dynamic quantisation scales activations over a whole batch, so a text's
    embedding would depend on the other texts. Several threads may use one LocalEncoder at once.
    """

    def __init__(self, model: Path = _MODEL) -> None:
        self._texts = WholeTexts(model / "tokenizer.json")
        self._network = load_network(model / "model-int8.onnx")

    def embed(self, text: str) -> Embedding | None:
        """Return the unit embedding of a text: 384 float32 numbers.

        Return None if the text is too long, or contains characters that the model does not know.
        """
        if len(text) > LONGEST or (encoded := self._texts.encode(text)) is None:
            return None
        tokens = np.array([encoded], dtype=np.int64)
        (embeddings,) = self._network.run(
            ["embedding"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        )
        return np.asarray(embeddings[0], dtype=np.float32)


class LocalEmbedder:
    """The embedding model that ships with Reprise, run in threads."""

    name = "all-MiniLM-L6-v2"
    dimensions = 384

    def __init__(self, model: Path = _MODEL) -> None:
        self._encoder = LocalEncoder(model)
        self._threads = Threads("embedder", os.cpu_count() or 1, _QUEUE, _PATIENCE)

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Return the unit embedding of a text: 384 float32 numbers. `credentials` are not used.

        Return None if the text is too long, or contains characters that the model does not know.
        Raises Overloaded if the text would have to wait too long for a thread.
        """
        if len(text) > LONGEST:
            return None
        return await self._threads.run(lambda: self._encoder.embed(text))

    async def aclose(self) -> None:
        """Stop the threads."""
        self._threads.shutdown()
