"""Turns a GGUF into a Hugging Face folder of safetensors by transformers: weights dequantised, in float16.

Request: `source` (GGUF), `target` (folder), `threads`. Result: `calibration_tokens` (0), `parameters`, `peak_bytes`.
"""

import sys
from pathlib import Path

import bars
import torch
from hf_folder import make_portable
from protocol import Channel, WorkerError, peak_bytes, serve
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(request: dict[str, object], channel: Channel) -> None:
    """Read, rebuild without the quantization that transformers notes, save."""
    bars.listen(channel)
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    try:
        read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise WorkerError("unsupported", f"transformers cannot read {source.name}: {error}") from error
    config = read.config
    if hasattr(config, "quantization_config"):  # a model with it refuses to be saved
        del config.quantization_config
    model = type(read)(config)
    missing, unexpected = model.load_state_dict(read.state_dict(), strict=False)
    if unexpected or set(missing) - set(model._tied_weights_keys or ()):  # noqa: SLF001 - its only name
        raise WorkerError("unsupported", f"transformers does not fill {config.model_type} from this GGUF")
    model.tie_weights()
    model.to(torch.float16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    make_portable(target)
    channel.send("result", calibration_tokens=0, parameters={"dtype": "float16"}, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(convert))
