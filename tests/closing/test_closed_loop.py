"""The whole main job on the real model: every promise of its report, held against what it left on disk."""

import asyncio
import xml.etree.ElementTree as ET

import orjson
import pytest
from closing.agent import Told, as_published, tell
from closing.test_text import HOSTILE
from markdown_it import MarkdownIt

from executors.models import GGUF_MAGIC
from handlers.markdown.report import report_markdown
from handlers.workshop import Workshop
from schemas.evidence import Evidence
from schemas.measurement import GateVerdict
from schemas.plan import Plan, StepKind
from schemas.report import Report, TrialOutcome
from schemas.status import JobState

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
COMMAND: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "smollm2-135m-instruct",
    "targets": {"latency_p95": "60s", "throughput": 0.1},
    "constraints": {"max_quality_loss": "3%", "hardware": "host", "engines": ["llama.cpp"]},
    "workload": {"input_tokens": 16, "output_tokens": 4},
    "respond_format": "STRUCTURED_JSON",
}


@pytest.fixture(scope="module")
def told(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One job, run once for all tests of this file."""
    return asyncio.run(tell(COMMAND, tmp_path_factory.mktemp("runs"), workshop))


@pytest.fixture(scope="module")
def report(told: Told) -> Report:
    """Its report, as it is on disk."""
    return Report.model_validate_json(as_published(told.directory / "report.json", Report))


def test_phases_come_in_order_and_one_terminal_status_ends_them(told: Told) -> None:
    """Baseline, optimization, validation; progress never falls; nothing follows the end."""
    phases = [update.phase for update in told.updates if update.phase]
    assert list(dict.fromkeys(phases)) == [StepKind.BASELINE, StepKind.OPTIMIZATION, StepKind.VALIDATION]
    shares = [update.progress for update in told.updates if update.progress is not None]
    assert shares == sorted(shares)
    assert [update.state.terminal for update in told.updates].count(True) == 1
    assert told.final.state in {JobState.COMPLETED, JobState.NOT_MET}


def test_everything_is_kept(told: Told, report: Report) -> None:
    """Command, plan, report, plots that open, raw rows, logs, and weights that are weights."""
    directory = told.directory
    assert orjson.loads((directory / "command.json").read_bytes())["model"] == COMMAND["model"]
    assert Plan.model_validate_json((directory / "plan.json").read_bytes()) == report.plan
    assert (directory / "report.md").read_text() == report_markdown(report)
    for plot in report.plots:
        assert ET.parse(directory / plot).getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert len(report.plots) >= 2
    for artifact in report.artifacts:
        path = directory / artifact.path
        assert path.stat().st_size == artifact.output.bytes
        assert path.suffix != ".gguf" or path.read_bytes()[:4] == GGUF_MAGIC
    assert all(level.errors == 0 for level in report.baseline.levels)
    rows = (directory / "load-baseline.jsonl").read_bytes().splitlines()
    assert len(rows) == sum(level.requests for level in report.baseline.levels)
    assert any((directory / "logs").iterdir())
    assert bool(report.handover) == (report.best is not None)
    assert all((directory / page).read_text().startswith("# ") for page in report.handover)
    assert not list(directory.rglob("*partial*"))


def test_at_least_four_candidates_were_tried_or_rejected_with_reasons(report: Report) -> None:
    """Whatever was not recommended has a reason a person can read."""
    assert report.trials
    assert len(report.trials) + len(report.not_tried) >= 4
    assert all(trial.sentence for trial in report.trials)
    assert all(report.not_tried)


def test_every_claimed_figure_was_measured(report: Report) -> None:
    """Lines, before and after, and the measured half of each comparison carry the evidence class `measured`."""
    claimed = [line.measured for line in report.lines if line.measured]
    claimed += [figure for row in report.before_after for figure in (row.before, row.after)]
    claimed += [item.measured for trial in report.trials for item in trial.comparisons]
    claimed += [item.measured for item in report.baseline_comparisons]
    assert len(claimed) > 10
    assert {figure.evidence for figure in claimed} == {Evidence.MEASURED}


def test_predictions_stand_beside_measurements(report: Report) -> None:
    """Every trial that was loaded shows predicted against measured; no prediction calls itself measured at first."""
    for trial in report.trials:
        assert {item.metric for item in trial.comparisons} >= {"quality_loss"}
        if trial.load:
            assert {item.metric for item in trial.comparisons} >= {"throughput_rps", "tpot_ms", "latency_p95_ms"}
    assert report.plan.baseline.prediction.throughput_rps.evidence is not Evidence.MEASURED


def test_nothing_is_recommended_that_the_gate_did_not_pass(report: Report) -> None:
    """Passed means the interval's upper end is within the limit; what did not pass was never loaded."""
    for trial in report.trials:
        if trial.gate is None:
            continue
        quality = trial.gate.quality
        assert quality.loss_low <= quality.loss <= quality.loss_high
        assert (trial.gate.verdict is GateVerdict.PASSED) == (quality.loss_high <= 0.03)
        assert (trial.load is not None) == (trial.gate.verdict is GateVerdict.PASSED)
    assert report.best is None or (report.best.gate and report.best.gate.verdict is GateVerdict.PASSED)


def test_the_verdict_is_that_of_its_lines(told: Told, report: Report) -> None:
    """Completed only when each limit was met, and the terminal status says the same."""
    assert (report.state is JobState.COMPLETED) == all(line.met for line in report.lines)
    assert {line.name for line in report.lines} == {"throughput", "latency_p95", "max_quality_loss"}
    assert told.final.state is report.state
    assert told.final.optimization == (report.chosen or report.baseline.strategy)
    assert told.final.detail.startswith(report.sentence)
    assert all(page in told.final.detail for page in report.handover)
    assert all(trial.outcome is not TrialOutcome.FAILED for trial in report.trials)


def test_the_shipped_type_is_no_candidate(report: Report) -> None:
    """Q4_1 would look free, since the baseline is its dequantised form; the report says so."""
    tried = {candidate.strategy.weight_format for candidate in (*report.plan.chosen, *report.plan.frontier)}
    assert "Q4_1" not in tried
    assert "dequantised" in report.baseline_note


def test_the_readable_report_leads_with_the_verdict(told: Told) -> None:
    """A person reads the verdict first, then what to do, and finds how to undo it."""
    text = (told.directory / "report.md").read_text()
    heads = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert heads[0] == "What to do"
    assert {"Quality gate", "Predicted against measured", "Cost", "Undo", "Reproduce"} <= set(heads)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_change_nothing_of_the_page(report: Report, text: str) -> None:
    """As the model's name, or in any sentence: the page has the same parts as with a harmless word."""

    def parts(word: str) -> list[str]:
        told = {"model": word, "sentence": word, "chosen": word, "undo": word, "baseline_note": word}
        lists = dict.fromkeys(("actions", "not_tried", "conditions"), (word,))
        page = report_markdown(report.model_copy(update={**told, **lists}))
        return [token.type for token in MarkdownIt("gfm-like", {"linkify": False}).parse(page)]

    assert parts(text) == parts("word")


def test_a_job_keeps_to_its_directory(told: Told) -> None:
    """Beside the broker's and the ledger's own files there is nothing but the job's directory."""
    assert {path.name for path in told.runs.iterdir()} == {"accepted", "broker", told.directory.name}
