"""Compresses a Hugging Face folder with LLM Compressor: GPTQ, AWQ, SmoothQuant, FP8, mixed bits, 2:4 sparsity.

Request as `CompressRequest`; `parameters`: `modifier`, and of `bits`, `group_size`, `strength`, `kept_share`, `grid`
(points that AWQ tries for each scale, no more than `steps`) its own.
"""

import contextlib
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import bars
import torch
from calibration import rows
from datasets import Dataset
from hf_folder import copy_tokenizer, make_portable
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from protocol import Channel, peak_bytes, serve
from transformers import AutoModelForCausalLM

HEAD = ["lm_head"]
LINEAR = {"targets": "Linear", "ignore": HEAD}
PRUNED = {"sparsity": 0.5, "mask_structure": "2:4", "targets": ["Linear"], "ignore": ["re:.*lm_head"]}
KEPT_BITS = 8
FEWEST_POINTS = 3
"""llmcompressor 0.14 divides by two points fewer than it is given."""
FUSED = re.compile(r"(?<=\.)(?:[qkv]|gate|up)_proj$")
"""Names that differ only in this are one layer in engines: query, key and value; gate and up."""


def grouped(bits: int, size: int, *, symmetric: bool = True) -> dict[str, object]:
    """The arguments for weights of `bits` in groups of `size`."""
    return {"config_groups": {"weights": group(["Linear"], bits, size, symmetric=symmetric)}, "ignore": HEAD}


def group(targets: list[str], bits: int, size: int, *, symmetric: bool = True) -> dict[str, object]:
    """One group of layers and how their weights are kept."""
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": size}
    return {"targets": targets, "weights": weights}


def mixed(model: torch.nn.Module, settings: dict[str, object]) -> list[object]:
    """GPTQ at `bits`, but `kept_share` of the linear layers, those that rounding hurts most, at 8.

    What engines fuse into one layer is of one kind: vLLM refuses it otherwise.
    """
    bits, size = settings["bits"], settings["group_size"]
    losses: dict[str, dict[str, float]] = defaultdict(dict)
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and name not in HEAD:
            losses[FUSED.sub("", name)][name] = rounding_loss(layer.weight.detach(), bits, size)
    ranked = sorted(losses.values(), key=lambda one: fmean(one.values()), reverse=True)
    most = max(1, round(len(ranked) * settings["kept_share"]))
    kept, rest = ([name for one in part for name in one] for part in (ranked[:most], ranked[most:]))
    settings["kept_layers"] = len(kept)
    groups = {"kept": group(kept, KEPT_BITS, size), "rest": group(rest, bits, size)}
    return [GPTQModifier(config_groups=groups, ignore=HEAD)]


def rounding_loss(weight: torch.Tensor, bits: int, size: int) -> float:
    """Relative squared error of rounding `weight` to `bits` in symmetric groups of `size` columns."""
    rows_ = weight.float().reshape(-1, size)
    scale = rows_.abs().amax(1, keepdim=True).clamp(min=1e-9) / (2 ** (bits - 1) - 1)
    return float(((rows_ - (rows_ / scale).round() * scale) ** 2).sum() / (rows_**2).sum())


RECIPES: dict[str, Callable[[torch.nn.Module, dict[str, object]], list[object]]] = {
    "gptq": lambda _, s: [GPTQModifier(**grouped(s["bits"], s["group_size"]))],
    "awq": lambda _, s: [
        AWQModifier(n_grid=s["grid"]),
        QuantizationModifier(**grouped(s["bits"], s["group_size"], symmetric=False)),
    ],
    "smoothquant": lambda _, s: [
        SmoothQuantModifier(smoothing_strength=s["strength"]),
        QuantizationModifier(scheme="W8A8", **LINEAR),
    ],
    "fp8": lambda *_: [QuantizationModifier(scheme="FP8_DYNAMIC", **LINEAR)],
    "mixed": mixed,
    "sparsegpt": lambda *_: [SparseGPTModifier(**PRUNED)],
    "wanda": lambda *_: [WandaPruningModifier(**PRUNED)],
}


@contextlib.contextmanager
def unpinned() -> object:
    """Without an accelerator there is no memory to pin, and llmcompressor 0.14 asks for it all the same (AWQ)."""
    if not torch.cuda.is_available() and hasattr(IntermediatesCache, "pin_memory"):
        IntermediatesCache.pin_memory = lambda *_, **__: None
    yield


def compress(request: dict[str, object], channel: Channel) -> None:
    """Calibrate where the method wants it, compress, save."""
    bars.listen(channel)
    torch.set_num_threads(request["threads"])
    source, target = Path(request["source"]), Path(request["target"])
    settings = dict(request["parameters"])
    if "grid" in settings:
        settings["grid"] = max(FEWEST_POINTS, min(settings["grid"], request["steps"]))
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    given, read = {}, 0
    if request["calibration"]:
        texts = rows(request)
        read = sum(map(len, texts))
        columns = {"input_ids": texts, "attention_mask": [[1] * len(row) for row in texts]}
        given = {
            "dataset": Dataset.from_dict(columns),
            "num_calibration_samples": len(texts),
            "max_seq_length": request["tokens"],
        }
    with unpinned():
        model = oneshot(model=model, recipe=RECIPES[settings["modifier"]](model, settings), **given)
    model.to(torch.float16).save_pretrained(target, save_compressed=True)
    copy_tokenizer(source, target)
    make_portable(target)
    channel.send("result", calibration_tokens=read, parameters=settings, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
