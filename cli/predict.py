"""`inferwright predict`: rows of a benchmark as CSV in, the same rows with a prediction each out."""

import csv
from pathlib import Path

from planners.catalog import find_model
from planners.guess import model_of_size
from planners.methods import method_of
from planners.metrics import quality_metric
from planners.performance.forecast import Sources, forecast
from planners.performance.names import accelerator_of
from planners.performance.published import Condition, UnreadableRowError, condition
from planners.quality import predicted
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Estimate
from schemas.model import ModelFacts

ADDED = ("predicted", "low", "high", "evidence", "skipped")
SPEED_COLUMNS = ("hw_key", "accel_count", "framework", "model", "precision", "isl", "osl", "batch_or_concurrency", "tp")
QUALITY_COLUMNS = ("model", "method", "bits", "metric")


def predict(source: Path, target: Path, *, quality: bool = False, silicon: bool = True) -> tuple[int, int]:
    """Predict every row of `source` into `target`; how many were predicted and how many skipped.

    Columns are those of `benchmarks/reference/perf_reference.csv`, or with `quality` of `quality_reference.csv`;
    `value` is not read. Each row gains `predicted`, `low`, `high` (a 90 % interval), `evidence` and, where there is no
    prediction, the reason in `skipped`.

    Raises:
        AgentError: `invalid_command` if the file is not there or lacks a column.
    """
    columns, rows = _read(source, (*(QUALITY_COLUMNS if quality else SPEED_COLUMNS), "metric"))
    answers = _qualities(rows) if quality else _speeds(rows, silicon=silicon)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*(name for name in columns if name not in ADDED), *ADDED], lineterminator="\n")
        writer.writeheader()
        for row, answer in zip(rows, answers, strict=True):
            kept = {name: row[name] for name in columns if name not in ADDED}
            writer.writerow(kept | _cells(answer))
    skipped = sum(isinstance(answer, str) for answer in answers)
    return len(rows) - skipped, skipped


def _read(source: Path, needed: tuple[str, ...]) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{name: cell or "" for name, cell in row.items() if name is not None} for row in reader]
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AgentError(ErrorCode.INVALID_COMMAND, f"{source} cannot be read as CSV: {error}") from error
    missing = [name for name in needed if name not in columns]
    if missing:
        raise AgentError(ErrorCode.INVALID_COMMAND, f"{source} lacks the columns {', '.join(missing)}")
    return columns, rows


def _speeds(rows: list[dict[str, str]], *, silicon: bool) -> list[Estimate | str]:
    """An estimate or the reason for none, a row each."""
    found = [_condition(row) for row in rows]
    cases = [case for case in found if not isinstance(case, str)]
    answers = iter(forecast(cases, Sources(silicon=silicon)))
    return [case if isinstance(case, str) else next(answers) for case in found]


def _condition(row: dict[str, str]) -> Condition | str:
    try:
        return condition(row, _model(row["model"]), accelerator_of(row["hw_key"], row.get("hardware", "")))
    except (AgentError, UnreadableRowError) as error:
        return str(error)


def _qualities(rows: list[dict[str, str]]) -> list[Estimate | str]:
    answers: list[Estimate | str] = []
    for row in rows:
        try:
            method = method_of(row["method"], float(row["bits"]))
            answers.append(predicted(method, _model(row["model"]), quality_metric(row["metric"])))
        except ValueError:
            answers.append(f"bits {row['bits']!r} is not a number")
        except AgentError as error:
            answers.append(str(error))
    return answers


def _model(name: str) -> ModelFacts:
    """The model of that name, or an assumed one of the size in it."""
    try:
        return find_model(name)
    except AgentError:
        assumed = model_of_size(name)
        if assumed is None:
            raise
        return assumed


def _cells(answer: Estimate | str) -> dict[str, str]:
    if isinstance(answer, str):
        return dict.fromkeys(ADDED, "") | {"skipped": answer}
    numbers = {"predicted": answer.value, "low": answer.low, "high": answer.high}
    return {name: f"{value:.6g}" for name, value in numbers.items()} | {"evidence": answer.evidence, "skipped": ""}
