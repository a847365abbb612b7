"""Quantizes a Hugging Face folder with AutoRound, written in the compressed-tensors form that vLLM reads.

Request as `CompressRequest`; `parameters`: `bits`, `group_size`.
"""

import sys
from pathlib import Path

import bars
import torch
from auto_round import AutoRound
from calibration import rows
from hf_folder import copy_tokenizer, make_portable
from protocol import Channel, peak_bytes, serve
from transformers import AutoModelForCausalLM, AutoTokenizer

FORMAT = "llm_compressor"


def compress(request: dict[str, object], channel: Channel) -> None:
    """Calibrate, quantize, save."""
    bars.listen(channel)
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    texts = rows(request)
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    rounding = AutoRound(
        model,
        AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False),
        scheme="W4A16",
        group_size=settings["group_size"],
        dataset=[{"input_ids": torch.tensor([row])} for row in texts],
        nsamples=len(texts),
        seqlen=request["tokens"],
        iters=request["steps"],
        batch_size=1,
        device_map="cpu",
        amp=False,
    )
    rounding.quantize_and_save(str(target), format=FORMAT)
    (made,) = (path for path in target.iterdir() if path.is_dir())  # it adds a folder of a name that it makes up
    for path in made.iterdir():
        path.rename(target / path.name)
    made.rmdir()
    copy_tokenizer(source, target)
    make_portable(target)
    read = sum(map(len, texts))
    channel.send("result", calibration_tokens=read, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
