"""The tokenizer and the network of a model in this process, and a check for dropped characters."""

import gzip
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
from tokenizers import Tokenizer

WINDOW = 256  # tokens, those that mark begin and end included; what the models were trained on
LONGEST = 20 * WINDOW  # characters; longer texts are not worth tokenizing to find out

_SPACE = 0x20
_DELETE = 0x7F
_DROPPED = frozenset({"Mn", "Cc", "Cf", "Cn", "Co"})  # Unicode general categories
_DROPPED_TOO = "\ufffd\u1734"  # found by trying each character of all other categories


class WholeTexts:
    """A tokenizer that never truncates and never pads."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[SEP]" in a question is text like any other, not the special token of that name.
        self._tokenizer.encode_special_tokens = True
        self._unknown = self._tokenizer.token_to_id("[UNK]")

    def encode(self, text: str) -> Sequence[int] | None:
        """Return the token ids of a text, with the marks of its begin and end.

        Return None if the model would not see the whole text. It sees at most 256 tokens. It does
        not see characters that the tokenizer drops or does not know.
        """
        if loses_characters(text):
            return None
        tokens: Sequence[int] = self._tokenizer.encode(text).ids
        return None if len(tokens) > WINDOW or self._unknown in tokens else tokens


def load_network(model: Path) -> onnxruntime.InferenceSession:
    """Load a network from a file, which may be gzipped.

    A run of the network uses one thread. Several threads may run it at the same time.
    """
    raw = model.read_bytes()
    network = gzip.decompress(raw) if model.suffix == ".gz" else raw
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        network,
        options,
        providers=["CPUExecutionProvider"],
        # To add and to normalize takes one kernel four times as long as two (ONNX Runtime 1.32).
        disabled_optimizers=["SkipLayerNormFusion"],
    )


def loses_characters(text: str) -> bool:
    """Whether the tokenizer drops characters that no other part of Reprise compares.

    The tokenizer decomposes characters and deletes the marks, so "=" and "\u2260" become the same.
    It also deletes the accents of Latin letters, but the guards compare these: "schon" and "schön".
    """
    if text.isascii():
        return any((ord(c) < _SPACE and c not in "\t\n\r") or ord(c) == _DELETE for c in text)
    told = (c for c in set(text) if not _is_accented(c))
    return any(
        (unicodedata.category(c) in _DROPPED and c not in "\t\n\r") or c in _DROPPED_TOO
        for c in unicodedata.normalize("NFD", "".join(told))
    )


def _is_accented(character: str) -> bool:
    """Whether a character is a Latin letter, with accents or without."""
    return character.isalpha() and unicodedata.normalize("NFD", character)[0] < "\x80"
