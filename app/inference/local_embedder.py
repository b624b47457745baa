"""The embedding model that ships with Reprise."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.models import Embedding, Header
from app.core.offload import Threads
from app.inference.onnx import LONGEST, WholeTexts, network_in

_MODEL = Path(__file__).parent.parent / "data" / "all-MiniLM-L6-v2"
TOKENIZER = _MODEL / "tokenizer.json"
_QUEUE = 64  # texts; a short one takes 1 or 2 ms, a long one 50
_PATIENCE = 0.5  # seconds in the queue; past that, a miss is faster


class LocalEncoder:
    """The network: all-MiniLM-L6-v2, int8, run by onnxruntime on one text at a time.

    Dynamic quantisation scales activations over the whole batch: in a batch, the embedding of a
    text would depend on the other texts. Several threads may run it at once.
    """

    def __init__(self, model: Path = _MODEL) -> None:
        self._texts = WholeTexts(model / "tokenizer.json")
        self._network = network_in(model)

    def embed(self, text: str) -> Embedding | None:
        """Return the unit embedding of a text, 384 float32.

        None if the text is too long, or has characters that the model does not see.
        """
        if len(text) > LONGEST or (encoded := self._texts.encode(text)) is None:
            return None
        tokens = np.array([encoded[0]], dtype=np.int64)
        (embeddings,) = self._network.run(
            ["embedding"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        )
        return np.asarray(embeddings[0], dtype=np.float32)


class LocalEmbedder:
    """The embedding model that ships, run in threads beside the event loop."""

    name = "all-MiniLM-L6-v2"
    dimensions = 384

    def __init__(self, model: Path = _MODEL) -> None:
        self._encoder = LocalEncoder(model)
        self._threads = Threads("embedder", os.cpu_count() or 1, _QUEUE, _PATIENCE)

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Return the unit embedding of a text, 384 float32; `credentials` are not used.

        None if the text is too long, or has characters that the model does not see. Raises
        Overloaded.
        """
        if len(text) > LONGEST:
            return None
        return await self._threads.run(lambda: self._encoder.embed(text))

    async def aclose(self) -> None:
        """Stop the threads."""
        self._threads.shutdown()
