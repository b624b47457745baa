"""A model that reads two questions together, made by `training/`."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.calibration import Calibration, lengths_of
from app.core.errors import ConfigurationError
from app.core.models import StoredText
from app.core.offload import Threads
from app.inference.calibration_file import read_calibrations
from app.inference.local_embedder import TOKENIZER, LocalEmbedder, LocalEncoder
from app.inference.onnx import LONGEST, WINDOW, WholeTexts, load_network

VERIFIER = Path(__file__).parent.parent / "data" / "verifier"
_FILE = "model.onnx.gz"
_QUEUE = 64  # questions with their candidates; a candidate takes 20 to 80 ms
_PATIENCE = 0.08  # seconds in line; with so much to do, a miss is sooner answered

_BEGIN, _END = 0, 2  # MPNet's marks
_SHIFT = 4  # from BERT's token ids, which are the embedder's, to MPNet's, whose marks come first


class CrossEncoder:
    """The network: MPNet with 12 layers, int8, run by onnxruntime, one pair at a time.

    Dynamic quantisation scales activations over the whole batch: in a batch, the output for a pair
    would depend on the other pairs. Several threads may run it at once.
    """

    def __init__(self, model: Path = VERIFIER, tokenizer: Path = TOKENIZER) -> None:
        self._texts = WholeTexts(tokenizer)
        self._network = load_network(model / _FILE)

    def logit(self, one: str, other: str) -> float | None:
        """Return the log-odds that one answer serves both; None where it does not see all of both.

        It sees no texts that are too long, and no characters that the tokenizer does not know or
        drops.
        """
        if len(one) + len(other) > LONGEST:
            return None
        first, second = self._texts.encode(one), self._texts.encode(other)
        if first is None or second is None or len(first) + len(second) > WINDOW:
            return None
        tokens = [_BEGIN, *_inner(first), _END, _END, *_inner(second), _END]
        (logits,) = self._network.run(["logit"], {"input_ids": np.array([tokens], np.int64)})
        return float(logits[0])


def _inner(tokens: Sequence[int]) -> Sequence[int]:
    """Return MPNet's ids of a text's tokens, without the marks at both ends."""
    return [token + _SHIFT for token in tokens[1:-1]]


class Ruler:
    """Measures the distance of texts by the embedding model that ships.

    It caches embeddings. Each question gets a new Ruler: from a cache that lived longer, a caller
    could learn by response times what others ask.
    """

    def __init__(self, encoder: LocalEncoder) -> None:
        self._embed = functools.cache(encoder.embed)

    def distance(self, one: str, other: str) -> float | None:
        """Return a cosine distance; None where the model does not see all of both."""
        x, y = self._embed(one), self._embed(other)
        return None if x is None or y is None else 1.0 - float(x @ y)


class LocalVerifier:
    """A cross-encoder and its calibration, run in threads beside the event loop.

    The calibration needs distances by the embedder that it was made with. If `encoder` is given, it
    is that embedder, and it measures the candidates' distances anew. Otherwise the embedder that
    found the candidates has already measured them.
    """

    def __init__(
        self, calibration: Calibration, network: CrossEncoder, encoder: LocalEncoder | None = None
    ) -> None:
        self.calibration = calibration
        self._network = network
        self._encoder = encoder
        self._threads = Threads("verifier", os.cpu_count() or 1, _QUEUE, _PATIENCE)

    async def verify(self, asked: str, candidates: Sequence[StoredText]) -> Sequence[float]:
        """Return for each candidate the probability, 0 to 1, that its answer serves the question.

        0 if the models do not see both texts whole, or if a distance measured anew is too great.
        Raises Overloaded.
        """
        ruler = Ruler(self._encoder) if self._encoder else None
        return await self._threads.run(lambda: [self._read(asked, c, ruler) for c in candidates])

    def _read(self, asked: str, candidate: StoredText, ruler: Ruler | None) -> float:
        # First the network, which gives up at once on a pair that is too long.
        logit = self._logit(asked, candidate.text)
        if logit is None or (distance := self._distance(asked, candidate, ruler)) is None:
            return 0.0
        lengths = lengths_of(asked, candidate.text)
        return self.calibration.probability(logit, distance, lengths)

    def _logit(self, asked: str, text: str) -> float | None:
        """Return the log-odds in one order, or the mean of both orders if the first is above 0.

        The mean is wrong less often. Most candidates that must not be served cost one run only.
        """
        forth = self._network.logit(asked, text)
        if forth is None or forth <= 0:
            return forth
        back = self._network.logit(text, asked)
        return None if back is None else (forth + back) / 2

    def _distance(self, asked: str, candidate: StoredText, ruler: Ruler | None) -> float | None:
        """Return a candidate's cosine distance; None if none is known, or it is too far away."""
        if ruler is None:
            return candidate.distance
        distance = ruler.distance(asked, candidate.text)
        is_near = distance is not None and distance <= self.calibration.max_distance
        return distance if is_near else None

    async def aclose(self) -> None:
        """Stop the threads."""
        self._threads.shutdown()


def load_verifier(
    embedder: str, model: Path | None = None, calibration: Calibration | None = None
) -> LocalVerifier:
    """Load the model that ships, or that of the folder `model`, as `training/` makes it.

    `embedder` is the name of the embedder that finds the candidates. `calibration`, if given, must
    be for that embedder. If it is not given, the folder's calibration for that embedder is used. If
    the folder has none, its calibration for the embedder that ships is used, and the candidates'
    distances are measured anew. Raises ConfigurationError.
    """
    model = model or VERIFIER
    encoder = None
    try:
        if calibration is None:
            known = read_calibrations(model / "calibration.json")
            calibration = known.get(embedder)
            if calibration is None:
                calibration, encoder = known[LocalEmbedder.name], LocalEncoder()
        return LocalVerifier(calibration, CrossEncoder(model), encoder)
    except Exception as error:
        raise ConfigurationError(
            f"REPRISE_VERIFIER_MODEL={model} cannot be loaded: {type(error).__name__}; it must be "
            f"a folder with the {_FILE} and calibration.json that training/ makes"
        ) from error
