"""Train the verifier, and go on where it was left: `python -m training.train --help`."""

import argparse
import itertools
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.inference.local_embedder import LocalEmbedder, LocalEncoder
from app.tools.groups import Group, read_groups
from training.pairs import LEARNT, Pair, Vectors, epoch, mine, texts_of

_LONGEST = 160  # tokens of a pair; longer ones are cut, in training only
_WARM = 300  # steps until the rate is reached
_DOUBT = 0.005  # of every label: some are wrong
_DECAY = 0.01
_SHOWN = 50  # steps from one line to the next
_AVERAGED = 4  # steps from one update of the mean weights to the next
_LASTING = 0.98  # share of the mean weights that an update keeps

_logger = logging.getLogger("training")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for on the command line.

    `frozen` is how many layers stay as they are; the words' vectors always do.
    """

    rate: float
    batch: int
    frozen: int
    steps: int
    minutes: float


class Trainer:
    """A network, its optimizer, its mean weights, and how many batches it has learnt from.

    The mean of the weights of the last few hundred steps is what is exported. It is as good as what
    a falling rate would reach, at any time, and the rate can stay (Izmailov et al. 2018).
    """

    def __init__(self, backbone: Path, out: Path, plan: Plan) -> None:
        self._plan = plan
        self._kept = out / "model.pt"
        self._tokenizer = AutoTokenizer.from_pretrained(backbone)
        # Hardly a pair is seen twice, so there is nothing that dropout would keep from being learnt
        # by heart; without it a step takes a twelfth less.
        self._network = AutoModelForSequenceClassification.from_pretrained(
            backbone, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
        self._freeze()
        self._optimizer = torch.optim.AdamW(self._parameters(), lr=plan.rate, betas=(0.9, 0.98))
        self._mean = AveragedModel(
            self._network, multi_avg_fn=get_ema_multi_avg_fn(_LASTING), use_buffers=False
        )
        self.step = 0
        if self._kept.exists():
            kept = torch.load(self._kept, weights_only=True)
            self._network.load_state_dict(kept["net"])
            self._mean.load_state_dict(kept["mean"])
            self._optimizer.load_state_dict(kept["opt"])
            self.step = kept["step"]

    def _freeze(self) -> None:
        for name, parameter in self._network.named_parameters():
            layer = re.search(r"encoder\.layer\.(\d+)\.", name)
            is_low = layer is not None and int(layer[1]) < self._plan.frozen
            if "word_embeddings" in name or is_low:
                parameter.requires_grad_(requires_grad=False)

    def _parameters(self) -> list[dict[str, object]]:
        """Return all but the words' vectors: weights decay, biases and norms do not."""
        named = self._network.named_parameters()
        free = [p for name, p in named if "word_embeddings" not in name]
        return [
            {"params": [p for p in free if p.ndim > 1], "weight_decay": _DECAY},
            {"params": [p for p in free if p.ndim == 1], "weight_decay": 0.0},
        ]

    @property
    def is_done(self) -> bool:
        """Whether all steps that were asked for are made."""
        return self.step >= self._plan.steps

    def learn(self, batch: Sequence[Pair]) -> float:
        """Learn from pairs; return the loss before."""
        self._network.train()
        encoded = self._tokenizer(
            [pair.one for pair in batch],
            [pair.other for pair in batch],
            truncation=True,
            max_length=_LONGEST,
            padding=True,
            return_tensors="pt",
        )
        logits = self._network(**encoded).logits[:, 0]
        labels = torch.tensor([1 - _DOUBT if pair.same else _DOUBT for pair in batch])
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.rate * min(1.0, (self.step + 1) / _WARM)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        if self.step % _AVERAGED == 0:
            self._mean.update_parameters(self._network)
        return float(loss.item())

    def keep(self) -> None:
        """Write all that is needed to go on, in one piece or not at all."""
        kept = {
            "net": self._network.state_dict(),
            "mean": self._mean.state_dict(),
            "opt": self._optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(kept, self._kept.with_suffix(".part"))
        self._kept.with_suffix(".part").replace(self._kept)


def main() -> None:
    """Read the command line, and train until it is done or ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", type=Path, help="folder of all-mpnet-base-v2, or one like it")
    parser.add_argument("out", type=Path, help="folder of model.pt, from which training goes on")
    parser.add_argument("--groups", type=Path, default=LEARNT, help="JSON lines")
    parser.add_argument("--rate", type=float, default=3e-5, help="of learning")
    parser.add_argument("--batch", type=int, default=32, help="pairs")
    parser.add_argument("--frozen", type=int, default=0, help="layers that stay as they are")
    parser.add_argument("--steps", type=int, default=10**9, help="stop there")
    parser.add_argument("--minutes", type=float, default=8, help="from one checkpoint to the next")
    given = vars(parser.parse_args())
    backbone, out, path = given.pop("backbone"), given.pop("out"), given.pop("groups")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(**given)
    train(Trainer(backbone, out, plan), batches(read_groups(path), plan.batch), plan.minutes)


def train(trainer: Trainer, endless: Iterator[Sequence[Pair]], minutes: float) -> None:
    """Learn batch after batch, from where the trainer stands, and keep what is learnt."""
    saved, losses = time.monotonic(), list[float]()
    for batch in itertools.islice(endless, trainer.step, None):
        if trainer.is_done:
            break
        losses.append(trainer.learn(batch))
        if trainer.step % _SHOWN == 0:
            _logger.info("step %d, loss %.4f", trainer.step, sum(losses) / len(losses))
            losses.clear()
        if time.monotonic() - saved > 60 * minutes:
            trainer.keep()
            saved = time.monotonic()
    trainer.keep()


def batches(groups: Sequence[Group], size: int) -> Iterator[Sequence[Pair]]:
    """Yield the batches of one pass after another."""
    mined = mine(groups, embed([text for group in groups for text in texts_of(group)]))
    for number in itertools.count():
        yield from epoch(groups, mined, size, number)


def embed(texts: Sequence[str]) -> Vectors:
    """Embed texts with the model that ships; what it does not see whole is near nothing."""
    encoder = LocalEncoder()
    nothing = np.zeros(LocalEmbedder.dimensions, np.float32)
    found = (encoder.embed(text) for text in texts)
    return np.array([nothing if vector is None else vector for vector in found])


if __name__ == "__main__":
    main()
