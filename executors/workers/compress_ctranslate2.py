"""Converts a Hugging Face folder to CTranslate2's form with quantized weights.

Request as `CompressRequest`; `parameters`: `quantization`.
"""

import sys
from pathlib import Path

from ctranslate2.converters import TransformersConverter
from hf_folder import copy_tokenizer
from protocol import Channel, peak_bytes, serve


def compress(request: dict[str, object], channel: Channel) -> None:
    """Convert, and put the tokenizer beside the model, which keeps only its vocabulary."""
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    converter = TransformersConverter(str(source), low_cpu_mem_usage=True)
    converter.convert(str(target), quantization=settings["quantization"], force=True)
    copy_tokenizer(source, target)
    channel.send("result", calibration_tokens=0, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
