"""A model that reads two questions together, made by `training/`."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from app.calibration import Calibration
from app.embedders.local import TOKENIZER, loses_characters
from app.errors import ConfigurationError
from app.models import Candidate
from app.threads import Threads

VERIFIER = Path(__file__).parent / "data" / "verifier"
_WINDOW = 256  # tokens of both questions, those that mark begin and end included
_LONGEST = 20 * _WINDOW  # characters; longer texts are not worth tokenizing to find out
_QUEUE = 64  # questions with their candidates; a candidate takes 2 or 3 ms


class CrossEncoder:
    """The network: int8, run by onnxruntime, one pair at a time.

    Dynamic quantisation scales activations over the whole batch, so what is told of a pair would
    depend on its batch mates. Several threads may run at once.
    """

    def __init__(self, model: Path = VERIFIER, tokenizer: Path = TOKENIZER) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        # Cut and padded texts would be read as other texts.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A text that holds "[SEP]" does not end there.
        self._tokenizer.encode_special_tokens = True
        self._unknown = self._tokenizer.token_to_id("[UNK]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model / "model-int8.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def logit(self, one: str, other: str) -> float | None:
        """Tell in log-odds whether one answer serves both; None where it does not see all of both.

        They are too long, or hold what the tokenizer does not know or drops.
        """
        if len(one) + len(other) > _LONGEST or loses_characters(one) or loses_characters(other):
            return None
        encoding = self._tokenizer.encode(one, other)
        if len(encoding.ids) > _WINDOW or self._unknown in encoding.ids:
            return None
        tokens = np.array([encoding.ids], dtype=np.int64)
        inputs = {
            "input_ids": tokens,
            "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
            "attention_mask": np.ones_like(tokens),
        }
        (logits,) = self._session.run(["logit"], inputs)
        return float(logits[0])


class LocalVerifier:
    """A cross-encoder and what its word is worth, off the event loop."""

    def __init__(self, calibration: Calibration, network: CrossEncoder) -> None:
        self.calibration = calibration
        self._network = network
        self._threads = Threads("verifier", os.cpu_count() or 1, _QUEUE)

    async def verify(self, asked: str, candidates: Sequence[Candidate]) -> Sequence[float]:
        """Tell for each candidate how likely its answer serves the question. Raises Overloaded."""
        return await self._threads.run(lambda: [self._read(asked, c) for c in candidates])

    def _read(self, asked: str, candidate: Candidate) -> float:
        logit = self._network.logit(asked, candidate.text)
        if logit is None:
            return 0.0
        return self.calibration.probability(logit, candidate.distance)

    async def aclose(self) -> None:
        """Let the threads go."""
        self._threads.shutdown()


def load_verifier(embedder: str, model: Path | None = None) -> LocalVerifier:
    """Load the model that ships or that of a folder, as `training/` leaves it.

    Raises ConfigurationError.
    """
    model = model or VERIFIER
    try:
        known = json.loads((model / "calibration.json").read_text("utf-8"))
        # With an embedder that it was not measured with, its own word alone counts.
        return LocalVerifier(Calibration(**known.get(embedder, known["any"])), CrossEncoder(model))
    except Exception as error:
        raise ConfigurationError(
            f"REPRISE_VERIFIER_MODEL={model} cannot be loaded: {type(error).__name__}; it must be "
            "a folder with the model-int8.onnx and calibration.json that training/ makes"
        ) from error
