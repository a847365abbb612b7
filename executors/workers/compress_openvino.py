"""Exports a Hugging Face folder to OpenVINO with compressed weights by optimum-intel and NNCF.

Request as `CompressRequest`; `parameters`: `bits`, `group_size`, `awq`.
"""

import sys
from pathlib import Path

import torch
from calibration import rows
from hf_folder import copy_tokenizer
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
from protocol import Channel, peak_bytes, serve
from tokens import Tokens

EIGHT = 8


def compress(request: dict[str, object], channel: Channel) -> None:
    """Export, compress, save."""
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    read = 0
    if settings["bits"] == EIGHT:
        config = OVWeightQuantizationConfig(bits=EIGHT, sym=False)
    else:
        given: dict[str, object] = {}
        if request["calibration"]:
            tokens, found = Tokens(source), rows(request)
            read = sum(map(len, found))
            given = {"dataset": [tokens.decode(row) for row in found], "quant_method": "awq", "scale_estimation": True}
            given |= {"num_samples": len(found), "tokenizer": str(source)}
        config = OVWeightQuantizationConfig(bits=4, sym=True, ratio=1.0, group_size=settings["group_size"], **given)
    channel.progress(0, 2, "export and compression")
    model = OVModelForCausalLM.from_pretrained(
        source, export=True, compile=False, quantization_config=config, trust_remote_code=False, local_files_only=True
    )
    channel.progress(1, 2, "export and compression")
    model.save_pretrained(target)
    copy_tokenizer(source, target)
    channel.send("result", calibration_tokens=read, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
