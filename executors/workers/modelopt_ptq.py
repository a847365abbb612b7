"""Quantizes a Hugging Face folder with NVIDIA's ModelOpt on a GPU; rendered by the agent for a machine that has one.

Never run by the agent itself. Calibrates on the beginning of a text; the folder written is in ModelOpt's unified form.
"""

import argparse
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """What the script is told."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--model", type=Path, required=True, help="folder of safetensors in 16 bits")
    told.add_argument("--calibration", type=Path, required=True, help="text, UTF-8")
    told.add_argument("--output", type=Path, required=True, help="folder to write")
    told.add_argument("--configuration", required=True, help="a name of modelopt.torch.quantization")
    told.add_argument("--samples", type=int, required=True, help="sequences to calibrate on")
    told.add_argument("--tokens", type=int, required=True, help="tokens of each sequence")
    return told


def main() -> int:
    """Load, calibrate, quantize, export."""
    told = parser().parse_args()
    import modelopt.torch.quantization as mtq  # noqa: PLC0415 - the agent checks the parser where there is no ModelOpt
    import torch  # noqa: PLC0415
    from modelopt.torch.export import export_hf_checkpoint  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    safe = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(told.model, **safe)
    model = AutoModelForCausalLM.from_pretrained(
        told.model, dtype=torch.bfloat16, device_map="auto", use_safetensors=True, **safe
    )
    ids = tokenizer(told.calibration.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
    rows = [row for row in ids.split(told.tokens) if len(row) == told.tokens][: told.samples]

    def forward_loop(calibrated: torch.nn.Module) -> None:
        with torch.inference_mode():
            for row in rows:
                calibrated(row.unsqueeze(0).to(calibrated.device))

    model = mtq.quantize(model, getattr(mtq, told.configuration), forward_loop)
    with torch.inference_mode():
        export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=told.output)
    tokenizer.save_pretrained(told.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
