"""The verifier's network in PyTorch: a small BERT that reads two questions at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

_HEAD = 32
_DROPPED = 0.1  # share of what a layer adds, in training only


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a BERT."""

    vocabulary: int = 30522
    positions: int = 512
    width: int = 384
    inner: int = 1536
    layers: int = 6

    @property
    def heads(self) -> int:
        """How many heads attend; MiniLM's are of one size."""
        return self.width // _HEAD


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.attention_norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.up = nn.Linear(shape.width, shape.inner)
        self.down = nn.Linear(shape.inner, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        pairs, length, width = hidden.shape
        split = (pairs, length, self.heads, width // self.heads)
        query = self.query(hidden).view(split).transpose(1, 2)
        key = self.key(hidden).view(split).transpose(1, 2)
        value = self.value(hidden).view(split).transpose(1, 2)
        weights = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads) + bias
        mixed = (weights.softmax(-1) @ value).transpose(1, 2).reshape(pairs, length, width)
        hidden = self.attention_norm(hidden + self._dropped(self.out(mixed)))
        return self.norm(hidden + self._dropped(self.down(functional.gelu(self.up(hidden)))))

    def _dropped(self, added: Tensor) -> Tensor:
        return functional.dropout(added, _DROPPED, self.training)


class CrossEncoder(nn.Module):
    """Reads [CLS] a [SEP] b [SEP] at once and tells in log-odds whether one answer serves both.

    The head sees the mean of either question's tokens, how they differ and what they share: what
    the embedder's weights are good at from the start.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.types = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.head = nn.Linear(4 * shape.width, shape.width)
        self.logit = nn.Linear(shape.width, 1)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Shapes (pairs, tokens), int64; gives (pairs,)."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.norm(
            self.words(input_ids) + self.types(token_type_ids) + self.positions(places)
        )
        bias = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * -10_000.0
        for layer in self.layers:
            hidden = layer(hidden, bias)
        second = (token_type_ids * attention_mask)[:, :, None].to(hidden.dtype)
        first = attention_mask[:, :, None].to(hidden.dtype) - second
        a = (hidden * first).sum(1) / first.sum(1)
        b = (hidden * second).sum(1) / second.sum(1)
        seen = torch.cat([hidden[:, 0], (a - b).abs(), a * b, (a + b) / 2], dim=1)
        return self.logit(torch.tanh(self.head(seen)))[:, 0]


_NAMES = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "types.weight": "embeddings.token_type_embeddings.weight",
    "norm": "embeddings.LayerNorm",
}
_LAYER_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}


def start_from(weights: Path) -> CrossEncoder:
    """Make a cross-encoder out of a BERT's safetensors; its head alone begins at chance."""
    given: Mapping[str, Tensor] = load_file(weights)
    vocabulary, width = given["embeddings.word_embeddings.weight"].shape
    shape = Shape(
        vocabulary=vocabulary,
        positions=len(given["embeddings.position_embeddings.weight"]),
        width=width,
        inner=len(given["encoder.layer.0.intermediate.dense.weight"]),
        layers=sum(name.endswith(".intermediate.dense.weight") for name in given),
    )
    model = CrossEncoder(shape)
    taken = {
        name: given[_name_in_bert(name)]
        for name in model.state_dict()
        if not name.startswith(("head.", "logit."))
    }
    model.load_state_dict(taken, strict=False)
    return model


def load(trained: Path) -> CrossEncoder:
    """Load what `save` has written."""
    kept = torch.load(trained, weights_only=True)
    model = CrossEncoder(Shape(**kept["shape"]))
    model.load_state_dict(kept["weights"])
    return model


def mean(models: Sequence[CrossEncoder]) -> CrossEncoder:
    """Give the first model with the mean of all weights; they come of one run after another."""
    with torch.no_grad():
        for weight, *others in zip(*(model.parameters() for model in models), strict=True):
            weight.copy_(torch.stack([weight, *others]).mean(0))
    return models[0]


def save(model: CrossEncoder, trained: Path) -> None:
    """Write a model and its shape."""
    torch.save({"shape": asdict(model.shape), "weights": model.state_dict()}, trained)


def _name_in_bert(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    head, _, tail = name.partition(".")
    if head == "norm":
        return f"{_NAMES[head]}.{tail}"
    number, part, kind = tail.split(".")
    return f"encoder.layer.{number}.{_LAYER_NAMES[part]}.{kind}"
