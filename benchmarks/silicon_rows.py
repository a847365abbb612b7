"""Build `benchmarks/reference/silicon_rows.csv` from the measurements of servers that aiconfigurator-core ships.

    python -m benchmarks.silicon_rows

Kept are aggregated configurations of catalogued models with up to eight accelerators whose layout is certain. Left out:

* attention data parallelism, replicas, and layouts whose experts do not add up to the tensor-parallel ranks;
* DeepSeek-R1 of InferenceMAX: its rows mix runs with and without multi-token prediction (images `1.2.0rc6.post3` and
  `1.1.0rc2.post2` of 2026 take half as long); those without are there once more as DeepSeek-V3, of the same shape;
* pairs of times in which the accelerators would compute faster than `_FASTEST` of their published rate: prompts from
  a cache, most likely.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median

from benchmarks.rows import COLUMNS
from planners.catalog import find_hardware, find_model
from planners.performance.formats import WeightFormat, weight_format
from planners.performance.machines import peak_flops
from planners.performance.names import engine_of
from planners.performance.precisions import formats_of
from planners.performance.work import Work
from schemas.error import AgentError
from schemas.hardware import Accelerator

OUT = Path(__file__).parent / "reference" / "silicon_rows.csv"
SOURCE = "PyPI aiconfigurator-core 0.12.0 systems/silicon_sample.csv"
_ENGINES = {"trtllm": "TensorRT-LLM 1.0", "vllm": "vLLM 0.12", "sglang": "SGLang 0.5"}
"""Names with the first version among the rows: a configuration's median spans several."""
_MOST = 8
_USABLE = 0.95
"""Of the memory, which weights have to leave something of."""
_FASTEST = 0.6
"""Of the published rate: 99 % of the rows stay below 0.46, and some come to three times all that there is."""
_VARIED = 0.9
"""InferenceMAX draws each length evenly from 0.8 to 1 of the nominal one (`random_range_ratio`)."""


@dataclass(frozen=True, order=True)
class Server:
    """One configuration under one load; lengths in tokens, on average."""

    backend: str
    model: str
    hardware: str
    precision: str
    tp: int
    length: int
    output: int
    open: int
    varied: bool


def sample() -> Iterator[tuple[Server, float, float]]:
    """Every measurement that is kept: its server, TTFT and TPOT in milliseconds."""
    text = files("aiconfigurator_core").joinpath("systems/silicon_sample.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        server = _server(row)
        if server is None:
            continue
        ttft, tpot = float(row["silicon_ttft_ms"]), float(row["silicon_tpot_ms"])
        if _share_of_peak(server, ttft, tpot) <= _FASTEST:
            yield server, ttft, tpot


def _server(row: dict[str, str]) -> Server | None:
    """What a row measured; None where it is not kept."""
    if row["mode"] != "agg":
        return None
    origin = row["silicon_data_source"]
    model = row["model_path"].rpartition("/")[2]
    own = "gap-analysis" in origin
    requests = re.search(r"silicon_concurrency=(\d+)", origin)
    tp = int(row["tp_size"])
    if (
        row["attention_dp_size"] not in {"", "1"}
        or row["pp_size"] != "1"
        or tp > _MOST
        or requests is None
        or requests[1] != row["batch_size"]
        or (model == "DeepSeek-R1" and not own)
    ):
        return None
    try:
        facts, device = find_model(model), find_hardware(row["system"])[0].accelerator
    except AgentError:
        return None
    ranks = int(row["moe_tp_size"] or tp) * int(row["moe_ep_size"] or 1)
    precision = {"fp4": "FP4", "fp8": "FP8"}.get(row["precision"], "BF16")
    size = facts.parameters * _format(row["backend"], precision, device, model).bits / 8e9
    if (facts.experts is not None and ranks != tp) or size > _USABLE * tp * device.memory_gb:
        return None
    mean = 1.0 if own else _VARIED
    lengths = round(int(row["isl"]) * mean), round(int(row["osl"]) * mean)
    return Server(row["backend"], model, device.key, precision, tp, *lengths, int(requests[1]), not own)


def _share_of_peak(server: Server, ttft: float, tpot: float) -> float:
    """Multiplications by weights a second, over the accelerators' published rate for them."""
    device = find_hardware(server.hardware)[0].accelerator
    compute = _format(server.backend, server.precision, device, server.model).compute
    active = float(Work.of([find_model(server.model)]).active()[0])
    seconds = (ttft + (server.output - 1) * tpot) / 1e3
    done = 2 * active * (server.length + server.output) * server.open / seconds
    return done / (server.tp * peak_flops(device, compute))


def _format(backend: str, precision: str, device: Accelerator, model: str) -> WeightFormat:
    """The weights' format, which a precision means to an engine on a device."""
    return weight_format(formats_of(precision, engine_of(_ENGINES[backend]), device, model)[0])


def main() -> None:
    """Write the file: of each server the median TTFT and TPOT."""
    found: dict[Server, list[tuple[float, float]]] = defaultdict(list)
    for server, ttft, tpot in sample():
        found[server].append((ttft, tpot))
    times = (
        (server, *one)
        for server in sorted(found)
        for one in zip(("ttft", "tpot"), zip(*found[server], strict=True), strict=True)
    )
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS.split(","))
        for number, (server, metric, values) in enumerate(times, 1):
            lengths = "lengths vary by a fifth" if server.varied else "fixed lengths"
            writer.writerow(
                (
                    f"S{number:05d}",
                    SOURCE,
                    f"silicon_{server.backend}",
                    server.hardware,
                    server.tp,
                    _ENGINES[server.backend],
                    server.model,
                    server.precision,
                    server.length,
                    server.output,
                    server.open,
                    server.tp,
                    metric,
                    round(median(values), 3),
                    "ms",
                    f"closed loop; {lengths}; median of {len(values)}",
                    server.hardware,
                )
            )


if __name__ == "__main__":
    main()
