"""Exports a Hugging Face folder to OpenVINO with compressed weights by optimum-intel and NNCF.

Request as `CompressRequest`; `parameters`: `bits`, `symmetric`, and of `group_size`, `scale_estimation`, `awq` its own.
"""

import sys
from pathlib import Path

import torch
from calibration import rows
from hf_folder import copy_tokenizer
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
from protocol import Channel, peak_bytes, serve
from tokens import Tokens


def compress(request: dict[str, object], channel: Channel) -> None:
    """Export, compress, save."""
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    found = rows(request) if request["calibration"] else []
    told: dict[str, object] = {"bits": settings["bits"], "sym": settings["symmetric"]}
    if "group_size" in settings:
        told |= {"ratio": 1.0, "group_size": settings["group_size"]}
    if found:
        tokens = Tokens(source)
        told |= {"dataset": [tokens.decode(row) for row in found], "num_samples": len(found), "tokenizer": str(source)}
        told |= {"scale_estimation": settings["scale_estimation"]}
        told |= {"quant_method": "awq"} if settings.get("awq") else {}
    config = OVWeightQuantizationConfig(**told)
    channel.progress(0, 2, "export and compression")
    model = OVModelForCausalLM.from_pretrained(
        source, export=True, compile=False, quantization_config=config, trust_remote_code=False, local_files_only=True
    )
    channel.progress(1, 2, "export and compression")
    model.save_pretrained(target)
    copy_tokenizer(source, target)
    channel.send("result", calibration_tokens=sum(map(len, found)), parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
