"""Mean lengths and limits of the data sets that benchmark suites send, from their published rules."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSet:
    """Mean prompt and answer in tokens, beams, and the suite's limits on p99 of (TTFT, TPOT) in seconds by scenario."""

    pattern: str
    prompt: float
    answer: float
    beams: int = 1
    limits: dict[str, tuple[float, float]] = field(default_factory=lambda: {"server": (2.0, 0.2)})


# MLPerf inference rules, table of benchmarks (mlcommons/inference_policies) and the tokens per sample of its reference
# implementations; prompts of OpenOrca and the mixed set are means of the published sets.
DATASETS: dict[str, DataSet] = {
    "405b": DataSet("405b", 9428, 684.68, limits={"server": (6.0, 0.175), "interactive": (4.5, 0.08)}),
    "mixed": DataSet("gsm8k|mbxp", 420, 145.9),
    "openorca": DataSet("orca", 294, 294.45, limits={"server": (2.0, 0.2), "interactive": (0.45, 0.04)}),
    "cnn-gptj": DataSet("cnn", 870, 69, beams=4, limits={"server": (10.0, 0.25)}),
    "cnn-llama": DataSet("cnn", 778, 128, limits={"server": (2.0, 0.1), "interactive": (0.5, 0.03)}),
    "deepseek": DataSet("math|livecode|deepseek", 800, 3880, limits={"server": (2.0, 0.08)}),
    "sharegpt": DataSet("sharegpt", 246, 233),
}

REQUESTS = {
    (128.0, 128.0): 30_000.0,
    (128.0, 2048.0): 3000.0,
    (128.0, 4096.0): 1500.0,
    (500.0, 2000.0): 3000.0,
    (1000.0, 1000.0): 3000.0,
    (1000.0, 2000.0): 1500.0,
    (2048.0, 128.0): 3000.0,
    (2048.0, 2048.0): 1500.0,
    (5000.0, 500.0): 1500.0,
    (20_000.0, 2000.0): 1000.0,
}
"""How many requests NVIDIA's own runs of trtllm-bench send, by prompt and answer in tokens: "Preparing a Dataset" in
TensorRT-LLM's docs/source/performance/perf-overview.md (v1.0)."""


def dataset_of(row: dict[str, str]) -> DataSet | None:
    """The data set whose lengths a row's requests have; None where it gives lengths itself."""
    text = row["isl"].lower()
    if text.replace(".", "", 1).replace("~", "").strip().isdigit():
        return None
    model = row["model"].lower()
    if "405b" in model and ("long" in text or "set" in text):
        return DATASETS["405b"]
    if "cnn" in text:
        return DATASETS["cnn-gptj" if "gptj" in model or "gpt-j" in model else "cnn-llama"]
    name = next((name for name, data in DATASETS.items() if re.search(data.pattern, text)), None)
    return DATASETS["deepseek"] if name is None and "deepseek" in model else DATASETS[name] if name else None
