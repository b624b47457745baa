"""The embedding model that ships with Reprise."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from app.models import Embedding, Header
from app.threads import Threads

_MODEL = Path(__file__).parent.parent / "data" / "all-MiniLM-L6-v2"
TOKENIZER = _MODEL / "tokenizer.json"
_WINDOW = 256  # tokens, those that mark begin and end included; what the model was trained on
_QUEUE = 64  # texts; a short one takes 1 or 2 ms, a long one 50
_PATIENCE = 0.5  # seconds in line; with so much to do, a miss is sooner answered
_SPACE = 0x20
_DELETE = 0x7F
_DROPPED = frozenset({"Mn", "Cc", "Cf", "Cn", "Co"})  # Unicode general categories
_DROPPED_TOO = "\ufffd\u1734"  # of the others, by trying each character
_LONGEST = 20 * _WINDOW  # characters; longer texts are not worth tokenizing to find out


class LocalEmbedder:
    """The shipped all-MiniLM-L6-v2, int8, run by onnxruntime off the event loop.

    One text a run: dynamic quantisation scales activations over the whole batch, so the embedding
    of a text would depend on its batch mates. Several threads may run at once.
    """

    name = "all-MiniLM-L6-v2"
    dimensions = 384

    def __init__(self, model: Path = _MODEL) -> None:
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        # Cut and padded texts would be embedded as other texts.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[SEP]" in a question is text, too: as a token of the model it would be no part of it.
        self._tokenizer.encode_special_tokens = True
        self._unknown = self._tokenizer.token_to_id("[UNK]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model / "model-int8.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._threads = Threads("embedder", os.cpu_count() or 1, _QUEUE, _PATIENCE)

    async def embed(self, text: str, credentials: Sequence[Header] = ()) -> Embedding | None:
        """Embed a text, or give None if it is too long or holds what the model does not see.

        Raises Overloaded.
        """
        if len(text) > _LONGEST:
            return None
        return await self._threads.run(lambda: self._run(text))

    def _run(self, text: str) -> Embedding | None:
        ids = self._tokenizer.encode(text).ids
        if len(ids) > _WINDOW or self._unknown in ids or loses_characters(text):
            return None
        tokens = np.array([ids], dtype=np.int64)
        (embeddings,) = self._session.run(
            ["embedding"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        )
        return np.asarray(embeddings[0], dtype=np.float32)

    async def aclose(self) -> None:
        """Let the threads go."""
        self._threads.shutdown()


def loses_characters(text: str) -> bool:
    """Tell whether the tokenizer drops a part of the text: accents, and characters without shape.

    It decomposes a text and deletes the marks: "schon" and "schön", "=" and "≠" become the same.
    """
    if text.isascii():
        return any((ord(c) < _SPACE and c not in "\t\n\r") or ord(c) == _DELETE for c in text)
    return any(
        (unicodedata.category(c) in _DROPPED and c not in "\t\n\r") or c in _DROPPED_TOO
        for c in unicodedata.normalize("NFD", text)
    )
