"""Quantizes a Hugging Face folder with bitsandbytes through transformers: NF4, or INT8 with outlying columns kept.

Request as `CompressRequest`; `parameters`: `bits`.
"""

import sys
from pathlib import Path

import bars
import torch
from hf_folder import copy_tokenizer, make_portable
from protocol import Channel, peak_bytes, serve
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

EIGHT = 8


def compress(request: dict[str, object], channel: Channel) -> None:
    """Load quantized, save as loaded."""
    bars.listen(channel)
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    if settings["bits"] == EIGHT:
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    model = AutoModelForCausalLM.from_pretrained(
        source,
        dtype=torch.float16,  # of what stays as it is
        quantization_config=config,
        device_map={"": "cpu"},
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    model.save_pretrained(target)
    copy_tokenizer(source, target)
    make_portable(target)
    channel.send("result", calibration_tokens=0, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
