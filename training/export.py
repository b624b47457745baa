"""Export a trained verifier to ONNX, int8: `python -m training.export --help`."""

import argparse
import logging
import tempfile
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

from training.model import CrossEncoder, mean
from training.weights import read_weights

_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
_OPSET = 17

_logger = logging.getLogger("training")


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", type=Path, nargs="+", help="model.pt, as training.train leaves it; or their mean"
    )
    parser.add_argument("out", type=Path, help="the .onnx file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    export(mean([read_weights(path) for path in arguments.models]), arguments.out)


def export(model: CrossEncoder, out: Path) -> None:
    """Write the model as fused int8 ONNX: inputs as its forward takes them, output `logit`."""
    model.eval()
    tokens = torch.ones((1, 8), dtype=torch.int64)
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
    with tempfile.TemporaryDirectory() as folder:
        plain, fused = Path(folder) / "plain.onnx", Path(folder) / "fused.onnx"
        torch.onnx.export(
            model,
            (tokens, types, torch.ones_like(tokens)),
            str(plain),
            input_names=list(_INPUTS),
            output_names=["logit"],
            dynamic_axes={
                **{name: {0: "pairs", 1: "tokens"} for name in _INPUTS},
                "logit": {0: "pairs"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )
        fusions = FusionOptions("bert")
        # One kernel for both adds and normalizes an element at a time: four times as slow as two.
        fusions.enable_skip_layer_norm = False
        graph = optimizer.optimize_model(
            str(plain),
            model_type="bert",
            num_heads=model.shape.heads,
            hidden_size=model.shape.width,
            optimization_options=fusions,
        )
        _logger.info("fused: %s", graph.get_fused_operator_statistics())
        graph.save_model_to_file(str(fused))
        quantize_dynamic(
            fused,
            out,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Fused operators hide the types behind them.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    _logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
