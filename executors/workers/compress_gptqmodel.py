"""Quantizes a Hugging Face folder with GPTQModel.

Request as `CompressRequest`; `parameters`: `bits`, `group_size`.
"""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # read when it is imported; with fewer it does not start

import bars
import torch
from calibration import rows
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from hf_folder import copy_tokenizer, make_portable
from protocol import Channel, peak_bytes, serve


def compress(request: dict[str, object], channel: Channel) -> None:
    """Calibrate, quantize, save."""
    bars.listen(channel)
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]).resolve(), Path(request["target"]).resolve()
    settings = dict(request["parameters"])
    texts = rows(request)
    config = QuantizeConfig(bits=settings["bits"], group_size=settings["group_size"], device="cpu")
    model = GPTQModel.load(str(source), config, dtype=torch.float32, trust_remote_code=False)
    columns = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in texts]
    channel.progress(0, 1, "calibration and quantization")  # its own bars are not tqdm's
    with tempfile.TemporaryDirectory() as away, contextlib.chdir(away):  # it leaves logs where it runs
        model.quantize(columns, batch_size=1, backend=BACKEND.TORCH)
        model.save(str(target))
    copy_tokenizer(source, target)
    make_portable(target)
    read = sum(map(len, texts))
    channel.send("result", calibration_tokens=read, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
