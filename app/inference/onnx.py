"""What the models in this process have in common: a tokenizer, what it does not see, a network."""

import unicodedata
from pathlib import Path

import onnxruntime
from tokenizers import Tokenizer

WINDOW = 256  # tokens, those that mark begin and end included; what the models were trained on
LONGEST = 20 * WINDOW  # characters; longer texts are not worth tokenizing to find out

_SPACE = 0x20
_DELETE = 0x7F
_DROPPED = frozenset({"Mn", "Cc", "Cf", "Cn", "Co"})  # Unicode general categories
_DROPPED_TOO = "\ufffd\u1734"  # of the others, by trying each character


class WholeTexts:
    """A tokenizer that never cuts or pads: what it makes of a text is of that text alone."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[SEP]" in a question is text, too: as a token of the model it would not count as such.
        self._tokenizer.encode_special_tokens = True
        self._unknown = self._tokenizer.token_to_id("[UNK]")

    def encode(self, text: str, other: str | None = None) -> tuple[list[int], list[int]] | None:
        """Return token and type ids of a text or two; None where the model does not see all of it.

        It is too long, or holds what the tokenizer does not know or drops.
        """
        if loses_characters(text) or (other is not None and loses_characters(other)):
            return None
        encoding = self._tokenizer.encode(text, other)
        if len(encoding.ids) > WINDOW or self._unknown in encoding.ids:
            return None
        return encoding.ids, encoding.type_ids


def network_in(folder: Path) -> onnxruntime.InferenceSession:
    """Load the network of a folder, for one thread a run; several threads may run it at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(folder / "model-int8.onnx"),
        options,
        providers=["CPUExecutionProvider"],
        # To add and to normalize takes one kernel four times as long as two (ONNX Runtime 1.32).
        disabled_optimizers=["SkipLayerNormFusion"],
    )


def loses_characters(text: str) -> bool:
    """Whether the tokenizer drops a part of the text that nobody else looks at.

    It decomposes a text and deletes the marks: "=" and "\u2260" become the same. The accents of
    Latin letters, which it deletes too, are compared by the guards: "schon" and "schön".
    """
    if text.isascii():
        return any((ord(c) < _SPACE and c not in "\t\n\r") or ord(c) == _DELETE for c in text)
    told = (c for c in set(text) if not _is_accented(c))
    return any(
        (unicodedata.category(c) in _DROPPED and c not in "\t\n\r") or c in _DROPPED_TOO
        for c in unicodedata.normalize("NFD", "".join(told))
    )


def _is_accented(character: str) -> bool:
    """Whether a character is a Latin letter with accents."""
    return character.isalpha() and unicodedata.normalize("NFD", character)[0] < "\x80"
