"""Published measurements: the CSV files of `benchmarks/reference` in, conditions and values out."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from planners.catalog import find_hardware, find_model
from planners.performance.published import Condition, Metric, Regime, UnreadableRowError, condition, kind_of
from schemas.error import AgentError

REFERENCE = Path(__file__).parent / "reference"
COLUMNS = (
    "id,source,group,hardware,accel_count,framework,model,precision,isl,osl,batch_or_concurrency,tp,metric,value,unit,"
    "note,hw_key"
)
"""First line of every file of speeds."""

# Cells that the reference's README names as anomalies of their source: llama.cpp F16 prompts on two accelerators.
_ANOMALIES = {("L40S", "F16"), ("A100-SXM-80GB", "F16")}

_LONGER = {Metric.TPOT: 1.3, Metric.TTFT: 2.0}
"""By how much a time may exceed one with more requests open; first tokens bunch, and scatter more."""


@dataclass(frozen=True)
class Row:
    """One measurement: its conditions, its value, and what it may be held out by."""

    id: str
    case: Condition
    value: float
    source: str

    @property
    def publisher(self) -> str:
        """Who measured: groups that one publication split are one, and so are the rounds of a suite."""
        return "mlperf" if self.source.startswith("mlperf") else self.source

    @property
    def kind(self) -> str:
        """The class of the goals it is judged in."""
        return kind_of(self.case)


def load(*names: str) -> list[Row]:
    """Every row of the named files whose model, accelerator and metric are known and which is no anomaly."""
    return consistent([row for name in names for row in _rows(_read(REFERENCE / name))])


def consistent(rows: list[Row]) -> list[Row]:
    """Rows without runs that others of the same server contradict: much longer times with fewer requests open.

    Of two runs that contradict each other the one goes that contradicts more of the others, or that took longer.
    """
    servers: dict[tuple[object, ...], dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.case.regime is Regime.LOOP and row.case.metric in _LONGER:
            servers[row.source, *_layout(row.case)][row.case.batch].append(row)
    contradicted = {row.id for runs in servers.values() for batch in _contradicted(runs) for row in runs[batch]}
    return [row for row in rows if row.id not in contradicted]


def _contradicted(runs: dict[float, list[Row]]) -> list[float]:
    """The numbers of open requests whose runs have to go, so that no two contradict each other."""
    pairs = [pair for pair in combinations(sorted(runs), 2) if _contradict(*(runs[batch] for batch in pair))]
    gone = []
    while pairs:
        count = Counter(batch for pair in pairs for batch in pair)
        worst = max(count, key=lambda batch: (count[batch], -batch))
        gone.append(worst)
        pairs = [pair for pair in pairs if worst not in pair]
    return gone


def _contradict(fewer: list[Row], more: list[Row]) -> bool:
    """Whether a time with fewer open requests is much longer than the same time with more."""
    return any(
        mine.case.metric is other.case.metric and mine.value > _LONGER[mine.case.metric] * other.value
        for mine in fewer
        for other in more
    )


def _layout(case: Condition) -> tuple[object, ...]:
    """Which server under which requests, all but the number of them that are open."""
    who = (case.model.name, case.accelerator.key, case.engine, case.weight_format, case.kv_format)
    return (*who, case.count, case.tp, case.pp, case.length, case.output, case.tail)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _rows(records: Iterable[dict[str, str]]) -> Iterator[Row]:
    for record in records:
        if not record["value"] or float(record["value"]) <= 0:
            continue
        if (record["hw_key"], record["precision"]) in _ANOMALIES and record["metric"].startswith("prefill"):
            continue
        try:
            device = find_hardware(record["hw_key"])[0].accelerator
            case = condition(record, find_model(record["model"]), device)
        except (AgentError, UnreadableRowError):
            continue
        yield Row(record["id"], case, float(record["value"]), record["group"])


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie, by linear interpolation; NaN for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
