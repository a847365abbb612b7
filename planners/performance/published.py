"""A row of a published benchmark in, as text; what it was measured under out: model, layout, load, metric."""

import re
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from planners.performance.datasets import DATASETS, REQUESTS, DataSet, dataset_of
from planners.performance.formats import formats
from planners.performance.names import engine_of
from planners.performance.precisions import formats_of
from schemas.hardware import Accelerator
from schemas.model import ModelFacts


class Regime(StrEnum):
    """How requests reach the engine."""

    STATIC = "static"
    """A batch at once, the next when all have ended."""
    LOOP = "loop"
    """A fixed number of open requests, each replaced when it ends; lengths differ, so that clients drift apart."""
    STEP = "step"
    """The same with answers of one length from clients that begin together: they stay in step."""
    QUEUED = "queued"
    """Everything is queued at once."""
    POISSON = "poisson"
    """Arrivals at the highest rate that meets the benchmark's limits."""
    RATE = "rate"
    """Poisson arrivals at a rate that the row states."""


class Metric(StrEnum):
    """What was measured."""

    DECODE = "decode"
    PREFILL = "prefill"
    TTFT = "ttft"
    TPOT = "tpot"
    OUTPUT = "output"
    REQUESTS = "requests"


@dataclass(frozen=True)
class Condition:
    """One measurement's conditions. Tokens per request.

    `batch` is open or batched requests (0: as many as fit), or those that arrive in a second where a rate is stated.
    """

    model: ModelFacts
    accelerator: Accelerator
    engine: str
    weight_format: str
    kv_format: str
    count: int
    tp: int
    pp: int
    replicas: int
    threads: int
    length: float
    output: float
    beams: int
    batch: float
    regime: Regime
    metric: Metric
    tail: bool
    """Whether the metric is a 99th percentile."""
    per_device: bool
    limit_ttft: float
    limit_tpot: float
    """The benchmark's limits in seconds, for Poisson arrivals."""
    sent: float = inf
    """Requests of the whole run, where it is known to end: no more can be in flight."""


class UnreadableRowError(ValueError):
    """Why a row cannot be predicted."""


_METRICS = (
    (r"^decode_tok", Metric.DECODE),
    (r"^prefill_tok", Metric.PREFILL),
    (r"^ttft|^time_to_first|^first_token", Metric.TTFT),
    (r"^tpot|^itl|^inter_token|^time_per_output", Metric.TPOT),
    (r"^samples_per_s|^requests?_per_s|^rps|^req", Metric.REQUESTS),
    (r"throughput|^output_tok|^tok_s|^tokens_per_s", Metric.OUTPUT),
)
_PER_SECOND = re.compile(
    r"(?P<ahead>\d+(\.\d+)?)\s*(req(uest)?s?\s*(/|per)\s*s|rps|qps)"
    r"|\b(rate|rps|qps)\s*[=:]?\s*(?P<behind>\d+(\.\d+)?)"
)
_LOOPED = frozenset({"vllm", "sglang", "tgi"})
_LAYER_SPLIT = frozenset({"llama.cpp", "exllama", "exllamav2", "autoawq", "transformers", "ctransformers"})
_ONE = 1.0
_OWN_TOOL = "tensorrt-llm/queued"
"""Its own benchmark, `trtllm-bench throughput`: no server, no client."""


def condition(row: dict[str, str], model: ModelFacts, accelerator: Accelerator) -> Condition:
    """The conditions of `row`, whose columns are those of `perf_reference.csv`.

    Raises:
        UnreadableRowError: with the reason.
    """
    name = row["metric"].lower()
    metric = next((metric for pattern, metric in _METRICS if re.search(pattern, name)), None)
    if metric is None:
        raise UnreadableRowError(f"metric {row['metric']!r} is not a speed")
    data = dataset_of(row)
    engine = engine_of(row["framework"], _suite(row) if data else "")
    device = _variant(accelerator, row)
    count = int(_number(row["accel_count"], _ONE))
    weight, cell = formats_of(row["precision"], engine, device, row["model"])
    size = model.parameters * formats()[weight].bits / 8e9
    length, output = _lengths(row, name, data)
    regime, batch = _load(row, name, engine, data)
    tp, pp, replicas = _shape(row, engine, count, size / device.memory_gb, regime)
    if engine == "tensorrt-llm" and regime is Regime.QUEUED and not batch:
        engine = _OWN_TOOL
    kind = "interactive" if "interactive" in name else "server"
    limits = data.limits.get(kind, data.limits["server"]) if data else (2.0, 0.2)
    if "link" not in row.get("note", "") and re.search(r";\s*PCIe", row.get("note", "")) and device.link_gbs > _PCIE:
        device = device.model_copy(update={"link_gbs": _PCIE})
    return Condition(
        model=model,
        accelerator=device,
        engine=engine,
        weight_format=weight,
        kv_format=cell,
        count=count,
        tp=tp,
        pp=pp,
        replicas=replicas,
        threads=int(_number(re.sub(r"^threads=", "", row["tp"]), 0)) if row["tp"].startswith("threads") else 0,
        length=length,
        output=output,
        beams=data.beams if data else 1,
        batch=batch,
        sent=REQUESTS.get((length, output), inf) if engine == _OWN_TOOL else inf,
        regime=regime,
        metric=metric,
        tail="p99" in name,
        per_device="per_gpu" in name or "per_device" in name,
        limit_ttft=limits[0],
        limit_tpot=limits[1],
    )


def _suite(row: dict[str, str]) -> str:
    """The variant that a suite's systems are: those of 2025 and later are a year of versions faster."""
    edition = re.search(r"MLPerf v(\d+)", row.get("note", ""))
    return "mlperf5" if edition and int(edition[1]) >= _NEWER else "mlperf"


_NEWER = 5
_PCIE = 32.0
_GIGABYTES = re.compile(r"(\d{2,3})\s*GB")
_BIGGER = {("GH200", 144): (144.0, 4900.0)}
"""Memory (GB) and bandwidth (GB/s) of parts that share a key with a smaller one; NVIDIA GH200 datasheet (HBM3e)."""


_POWERS = {"_MaxQ/gptj": 350 / 700, "_MaxQ/llama2": 500 / 700, "_MaxQ/mixtral": 500 / 700, "-CTS": 1000 / 700}
"""Share of its power that an H200 is given where a suite's system says so: those of highest efficiency (`power_limit`
in NVIDIA's configurations of MLPerf 4.1), and those of NVIDIA's custom thermal solution (MLPerf 4.0)."""


def _variant(device: Accelerator, row: dict[str, str]) -> Accelerator:
    """The part with the power and the memory that the row names, where others share its key."""
    for system, share in _POWERS.items():
        if system in row.get("source", ""):
            device = device.model_copy(update={"power_w": share * device.power_w})
    for text in re.findall(_GIGABYTES, f"{row.get('hardware', '')} {row.get('note', '')}"):
        memory = _BIGGER.get((device.key, int(text)))
        if memory:
            return device.model_copy(update={"memory_gb": memory[0], "bandwidth_gbs": memory[1]})
    return device


def _shape(row: dict[str, str], engine: str, count: int, share: float, regime: Regime) -> tuple[int, int, int]:
    """Tensor and pipeline parallelism of one replica, and replicas; weights are `share` of one accelerator's memory.

    A suite's vendors run as many replicas as memory allows; elsewhere the accelerators beyond `tp` are a pipeline.
    """
    text = row["tp"].strip()
    stated = int(text) if text.isdigit() else 0
    base = engine.partition("/")[0]
    if base == "neuron":
        return count, 1, 1
    if base in _LAYER_SPLIT and not (base == "llama.cpp" and stated > 1):
        return 1, count, 1
    if "/mlperf" in engine:
        need = stated or 1
        while not stated and share > _WEIGHT_SHARE[regime] * need:
            need *= 2
        need = min(need, count)
        return need, 1, max(count // need, 1)
    if not stated:
        return count, 1, 1
    tp = min(stated, count)
    return tp, max(count // tp, 1), 1


_WEIGHT_SHARE = {Regime.QUEUED: 0.68, Regime.POISSON: 0.56}
"""Weights beyond this share of memory leave too little for the KV cache of a large batch, or for meeting limits: what
MLPerf 5.1 and 6.0 systems state of their layouts (Llama-3.1-405B on B200 is split in two offline, in four served)."""


def _lengths(row: dict[str, str], metric: str, data: DataSet | None) -> tuple[float, float]:
    """Mean prompt and answer, in tokens; from the data set where the row names one."""
    if data is not None:
        return data.prompt, data.answer
    length = _number(row["isl"], 0.0)
    output = _number(row["osl"], 1.0)
    size = re.search(r"prefill_tok_s_(\d+)", metric)
    if size:
        length = float(size[1])
    return max(length, 1.0), max(output, 1.0)


def _load(row: dict[str, str], metric: str, engine: str, data: DataSet | None) -> tuple[Regime, float]:
    """How requests arrived, and how many were open."""
    text = row["batch_or_concurrency"].strip().lower()
    if data is not None and data is not DATASETS["sharegpt"]:
        poisson = text.startswith(("server", "interactive")) or "server" in metric or "interactive" in metric
        return (Regime.POISSON if poisson else Regime.QUEUED), 0.0
    rate = _PER_SECOND.search(text)
    if rate is not None:
        return Regime.RATE, float(rate["ahead"] or rate["behind"])
    number = re.search(r"\d+(\.\d+)?", text)
    if "inf" in text or "max" in text or number is None:
        return Regime.QUEUED, 0.0
    batch = max(float(number[0]), 1.0)
    if "at once" in text:
        return Regime.QUEUED, batch
    if "in step" in text:
        return Regime.STEP, batch
    loop = engine.partition("/")[0] in _LOOPED or engine == "tensorrt-llm" or "concurren" in text or data is not None
    return (Regime.LOOP if loop else Regime.STATIC), batch


def _number(text: str, default: float) -> float:
    """The first number in a cell, or the default."""
    found = re.search(r"\d+(\.\d+)?", text.replace(",", ""))
    return float(found[0]) if found else default


def kind_of(case: Condition) -> str:
    """The class of speeds that a row belongs to: errors and spreads are kept for each."""
    if case.metric is Metric.TPOT:
        return "tpot"
    if case.metric is Metric.TTFT:
        return "ttft-unloaded" if case.regime in {Regime.STATIC, Regime.QUEUED} else "ttft-loaded"
    return rate_class(case.engine, case.accelerator.key)


def rate_class(engine: str, accelerator: str) -> str:
    """The class of an engine's rates on an accelerator."""
    return "throughput-kernel" if has_kernels(engine, accelerator) else "throughput-elsewhere"


def has_kernels(engine: str, accelerator: str) -> bool:
    """Whether a database of measured kernels covers the engine and the accelerator: data-centre NVIDIA."""
    served = engine.partition("/")[0] in {"tensorrt-llm", "vllm", "sglang"}
    return served and accelerator.startswith(("A100", "H100", "H200", "GH200", "B200", "B300", "GB200", "L40S"))
