"""Weights to start or to go on from: of a BERT, of a run, or of an exported verifier."""

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from training.model import CrossEncoder, Shape, load, start_from

_TABLES = ("words", "positions", "types")
_ATTENDING = ("query", "key", "value")

Array = NDArray[np.float32]


def read_weights(path: Path) -> CrossEncoder:
    """Read a BERT's .safetensors, what training has saved, .pt, or what was exported, .onnx."""
    if path.suffix == ".safetensors":
        return start_from(path)
    return _restore(path) if path.suffix == ".onnx" else load(path)


def _restore(exported: Path) -> CrossEncoder:
    """Make the model that was exported; what int8 has rounded off is lost."""
    graph = onnx.load(exported).graph
    kept = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    weights = {name: kept[name] for name in kept if name.endswith((".weight", ".bias"))}
    weights |= {f"{table}.weight": _floats(kept, f"{table}.weight") for table in _TABLES}
    for node in graph.node:
        if node.op_type == "MatMulInteger":  # by name "/layers.0/out/MatMul_quant"
            part = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            weights[f"{part}.weight"] = _floats(kept, node.input[1].removesuffix("_quantized")).T
    layers = 0
    while f"Attention_{layers}_qkv_bias" in kept:
        together = _floats(kept, f"Attention_{layers}_qkv_weight").T
        biases = kept[f"Attention_{layers}_qkv_bias"]
        for part, weight, bias in zip(
            _ATTENDING, np.split(together, 3), np.split(biases, 3), strict=True
        ):
            weights[f"layers.{layers}.{part}.weight"] = weight
            weights[f"layers.{layers}.{part}.bias"] = bias
        layers += 1
    vocabulary, width = weights["words.weight"].shape
    positions, inner = len(weights["positions.weight"]), len(weights["layers.0.up.bias"])
    model = CrossEncoder(Shape(vocabulary, positions, width, inner, layers))
    model.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    return model


def _floats(kept: dict[str, Array], name: str) -> Array:
    whole = kept[f"{name}_quantized"].astype(np.float32)
    return (whole - kept[f"{name}_zero_point"]) * kept[f"{name}_scale"]
