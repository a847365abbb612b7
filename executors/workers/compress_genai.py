"""Builds a folder for ONNX Runtime GenAI with 4-bit weights, by its own model builder.

Request as `CompressRequest`; `parameters`: `block_size`.
"""

import runpy
import sys
import tempfile
from pathlib import Path

from hf_folder import copy_tokenizer
from protocol import Channel, peak_bytes, serve

ACCURACY = 4
"""Activations as 8-bit integers in the product, which is what makes it fast on a CPU."""


def compress(request: dict[str, object], channel: Channel) -> None:
    """Build for the CPU."""
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    channel.progress(0, 1, "graph and weights")
    with tempfile.TemporaryDirectory(dir=target) as cache:
        command = ["-m", str(source), "-o", str(target), "-p", "int4", "-e", "cpu", "-c", cache]
        options = [f"int4_block_size={settings['block_size']}", f"int4_accuracy_level={ACCURACY}"]
        sys.argv = ["builder", *command, "--extra_options", *options]
        runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")  # its functions want its own parsing
    copy_tokenizer(source, target)
    channel.send("result", calibration_tokens=0, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
