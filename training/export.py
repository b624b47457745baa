"""Export a trained verifier to ONNX, in eight bits: `python -m training.export --help`.

Dynamic int8 is twice as fast as floats, but activations get their eight bits over the whole range,
and a few dimensions of MPNet's are fifty times as large as the usual ones. These few are multiplied
as floats, apart (as LLM.int8() does, Dettmers et al. 2022), and the rest keeps its precision.
"""

import argparse
import gzip
import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.inference.verifier import CrossEncoder
from app.tools.groups import read_groups
from training.pairs import LEARNT

_OPSET = 17
_LARGE = 500_000  # weights; what has fewer stays as it is
_PAIRS = 100  # that are compared
_WATCHED = 60  # pairs that show which dimensions are large
_APART = {"intermediate": 16, "output.dense": 64, "attn.q": 8, "attn.k": 8, "attn.v": 8}
"""How many dimensions are multiplied apart, by the ends of names of layers."""

Tokenize = Callable[..., Any]
"""A tokenizer of the transformers library."""

_logger = logging.getLogger("training")


class _Whole(nn.Module):
    """The network for one pair without padding: token ids (1, tokens) to log-odds (1,)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        mask = torch.ones_like(input_ids)
        logits: Tensor = self.network(input_ids=input_ids, attention_mask=mask).logits
        return logits[:, 0]


def main() -> None:
    """Read the command line, export, and tell how far the figures are from the floats'."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", type=Path, help="the folder that training began with")
    parser.add_argument("trained", type=Path, nargs="+", help="model.pt; of several, their mean")
    parser.add_argument("out", type=Path, help="folder to write model.onnx.gz to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tokenizer = AutoTokenizer.from_pretrained(arguments.backbone)
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out / "model.onnx.gz"
    export(load(arguments.backbone, arguments.trained), tokenizer, out)
    floats = load(arguments.backbone, arguments.trained)
    alike = correlation(floats, tokenizer, CrossEncoder(arguments.out))
    size = out.stat().st_size / 1e6
    _logger.info("%.1f MB, correlation with the floats %.4f", size, alike)


def load(backbone: Path, trained: Sequence[Path]) -> nn.Module:
    """Load the mean weights that `training.train` keeps; of several networks, their mean.

    Networks that went on from the same weights have a mean that is better than each of them
    (Wortsman et al. 2022, "Model soups").
    """
    network = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=1, attn_implementation="eager"
    )
    kept = [torch.load(path, weights_only=True)["mean"] for path in trained]
    network.load_state_dict(
        {
            name.removeprefix("module."): torch.stack([k[name] for k in kept]).mean(dim=0)
            for name in kept[0]
            if name.startswith("module.")
        }
    )
    return network.eval()


def export(network: nn.Module, tokenizer: Tokenize, out: Path) -> None:
    """Write a network as gzipped int8 ONNX: input `input_ids`, output `logit`."""
    _set_apart(network, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        floats, quantised = Path(folder) / "floats.onnx", Path(folder) / "quantised.onnx"
        torch.onnx.export(
            _Whole(network),
            (torch.tensor([[0, 5, 6, 2, 2, 7, 8, 2]]),),
            str(floats),
            input_names=["input_ids"],
            output_names=["logit"],
            dynamic_axes={"input_ids": {1: "tokens"}},
            opset_version=_OPSET,
            dynamo=False,
        )
        quantize_dynamic(
            floats,
            quantised,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # two products overflow 16 bits on processors without VNNI
            nodes_to_quantize=_large(onnx.load(floats)),
        )
        # Weights of seven bits are packed into three quarters of their size.
        out.write_bytes(gzip.compress(quantised.read_bytes(), mtime=0))


class _Apart(nn.Module):
    """A linear layer some of whose inputs are multiplied apart from the others."""

    def __init__(self, linear: nn.Linear, apart: Tensor) -> None:
        super().__init__()
        rest = torch.ones(linear.in_features)
        rest[apart] = 0
        self.linear = linear
        self.register_buffer("rest", rest)
        self.register_buffer("apart", apart)
        self.register_buffer("few", linear.weight.data[:, apart].T.contiguous())

    def forward(self, hidden: Tensor) -> Tensor:
        few: Tensor = hidden.index_select(2, self.apart) @ self.few
        return self.linear(hidden * self.rest) + few


def _set_apart(network: nn.Module, tokenizer: Tokenize) -> None:
    """Replace linear layers by ones that multiply their largest inputs apart."""
    linear = {
        name: (module, count)
        for name, module in network.named_modules()
        for end, count in _APART.items()
        if isinstance(module, nn.Linear) and f".{name}".endswith(f".{end}") and "encoder" in name
    }
    largest: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def seen(_: nn.Module, given: tuple[Tensor]) -> None:
            now = given[0].abs().amax(dim=(0, 1))
            largest[name] = torch.maximum(largest.get(name, now), now)

        return seen

    hooks = [module.register_forward_pre_hook(watch(name)) for name, (module, _) in linear.items()]
    with torch.inference_mode():
        for pair in _pairs(_WATCHED):
            network(**tokenizer(*pair, return_tensors="pt"))
    for hook in hooks:
        hook.remove()
    for name, (module, count) in linear.items():
        parent, _, own = name.rpartition(".")
        apart = torch.topk(largest[name], count).indices.clone()
        setattr(network.get_submodule(parent), own, _Apart(module, apart))


def _large(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes that look words up, or multiply with a whole layer."""
    sizes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in {"MatMul", "Gather"}
        and any(math.prod(sizes.get(name, ())) >= _LARGE for name in node.input)
    ]


def _pairs(count: int) -> Sequence[tuple[str, str]]:
    """Return a wording with another, and with a near miss, of each of the first groups."""
    pairs = [
        (group.wordings[0], other)
        for group in read_groups(LEARNT)
        for other in (group.wordings[-1], *group.near[:1])
    ]
    return pairs[:count]


def correlation(network: nn.Module, tokenizer: Tokenize, quantised: CrossEncoder) -> float:
    """Return Pearson's correlation of both networks' log-odds."""
    whole = _Whole(network)
    pairs = _pairs(_PAIRS)
    with torch.inference_mode():
        floats = [
            float(whole(tokenizer(*pair, return_tensors="pt")["input_ids"])[0]) for pair in pairs
        ]
    told = [quantised.logit(*pair) for pair in pairs]
    return float(np.corrcoef(floats, np.array(told, float))[0, 1])


if __name__ == "__main__":
    main()
