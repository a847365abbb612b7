"""Exports a Hugging Face folder to ONNX by optimum-onnx and quantizes it dynamically by ONNX Runtime.

Request as `CompressRequest`; `parameters`: `per_channel`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from hf_folder import copy_tokenizer
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.onnxruntime import ORTModelForCausalLM
from protocol import Channel, peak_bytes, serve


def compress(request: dict[str, object], channel: Channel) -> None:
    """Export in float32 into a folder that goes away, quantize from there."""
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    channel.progress(0, 2, "export and quantization")
    with tempfile.TemporaryDirectory(dir=target) as exported:
        model = ORTModelForCausalLM.from_pretrained(
            source, export=True, dtype=torch.float32, trust_remote_code=False, local_files_only=True
        )
        model.save_pretrained(exported)
        del model
        channel.progress(1, 2, "export and quantization")
        quantize_dynamic(
            Path(exported) / "model.onnx",
            target / "model.onnx",
            op_types_to_quantize=["MatMul"],
            per_channel=settings["per_channel"],
            weight_type=QuantType.QInt8,
            use_external_data_format=False,
        )
        for name in ("config.json", "generation_config.json"):
            (Path(exported) / name).replace(target / name)
    copy_tokenizer(source, target)
    channel.send("result", calibration_tokens=0, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
