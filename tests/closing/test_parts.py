"""The commands for one part of the loop each, on the real model: what they measure, judge, keep and say."""

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import orjson
import pytest
from closing.agent import agent, as_published

from cli.send import Watch, send
from executors.models import GGUF_MAGIC
from handlers.workshop import Workshop
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Evidence
from schemas.findings import ComparisonReport, CostReport, PairVerdict, PerformanceReport, QualityReport
from schemas.measurement import Arrivals, GateVerdict
from schemas.status import InferenceStatus, JobState

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
MODEL = "smollm2-135m-instruct"
WORKLOAD = {"input_tokens": 16, "output_tokens": 4, "concurrency": 2}
TRACE = [{"at_s": 0.2 * number, "input_tokens": 8 + number, "output_tokens": 1 + number} for number in range(3)]
LOAD = {"rates": [4], "evenly": True, "requests": 4, "trace": TRACE, "stress": True}
LOOSE = {"max_quality_loss": "40%"}
R = TypeVar("R", bound=Record)


class Done:
    """What one command left: its job's directory and its updates."""

    def __init__(self, directory: Path, updates: list[InferenceStatus]) -> None:
        self.directory = directory
        self.final = updates[-1]

    def report(self, kind: type[R]) -> R:
        """Its report, as it is on disk, where the readable form is too."""
        assert (self.directory / "report.md").read_text().startswith(f"# {MODEL}")
        return kind.model_validate_json(as_published(self.directory / "report.json", kind))


async def _all(runs: Path, workshop: Workshop) -> dict[str, Done]:
    """Every command once, one after the other, at one agent."""
    done: dict[str, Done] = {}
    async with agent(runs, workshop) as url:

        async def run(cmd: str, **fields: object) -> str:
            updates: list[InferenceStatus] = []
            command = {"cmd": cmd, "model": MODEL, **fields}
            sent = await send(command, url, watch=Watch(status=updates.append))
            assert sent.job is not None
            done[cmd] = Done(runs / sent.job, updates)
            return sent.job

        await run("BASELINE_ASSESSMENT", workload=WORKLOAD)
        done["first baseline"] = done["BASELINE_ASSESSMENT"]
        await run("BASELINE_ASSESSMENT", workload=WORKLOAD)
        made = await run("QUANTIZE_MODEL", method="q4_0", constraints=LOOSE)
        await run("EVALUATE_QUALITY", candidate="Q4_0", job=made, constraints={"max_quality_loss": 0.001})
        await run("BENCHMARK_INFERENCE", workload=WORKLOAD | {"shared_prefix_tokens": 12}, profile=True)
        done["usual load"] = done["BENCHMARK_INFERENCE"]
        await run("BENCHMARK_INFERENCE", workload=WORKLOAD, load={"concurrency": [2], "soak_minutes": 0.1})
        done["soak"] = done["BENCHMARK_INFERENCE"]
        await run("BENCHMARK_INFERENCE", workload=WORKLOAD, load=LOAD, targets={"latency_p95": "900ms"})
        await run("COMPARE_STRATEGIES", strategies=["F16", "Q8_0", "Q2_K"], constraints=LOOSE, workload=WORKLOAD)
    return done


@pytest.fixture(scope="module")
def done(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """All of them, run once for all tests of this file."""
    return asyncio.run(_all(tmp_path_factory.mktemp("runs"), workshop))


def test_a_baseline_is_measured_and_its_bottleneck_named(done: dict[str, Done]) -> None:
    """The F16 form under load, beside what the plan said, with the machine's figures."""
    report = done["BASELINE_ASSESSMENT"].report(PerformanceReport)
    assert report.strategy.weight_format == "F16"
    assert (report.bottleneck or "").startswith(("memory", "compute"))
    assert {item.measured.evidence for item in report.comparisons} == {Evidence.MEASURED}
    assert report.load.levels[-1].setting == WORKLOAD["concurrency"]
    assert done["BASELINE_ASSESSMENT"].final.metrics is not None


def test_the_next_plan_says_what_was_measured(done: dict[str, Done]) -> None:
    """What the first assessment measured of a strategy under a load is what the second one's plan says of it."""
    first, second = (done[name].report(PerformanceReport) for name in ("first baseline", "BASELINE_ASSESSMENT"))
    assert {item.predicted.evidence for item in first.comparisons} == {Evidence.CALIBRATED}
    told = {item.metric: item.measured.value for item in first.comparisons}
    assert {item.predicted.evidence for item in second.comparisons} == {Evidence.MEASURED}
    assert {item.metric: item.predicted.value for item in second.comparisons} == pytest.approx(told, rel=1e-3)


def test_a_method_leaves_a_file_with_its_verdict(done: dict[str, Done]) -> None:
    """Q4_0 within a wide limit: judged, kept, a GGUF file that wrote a few words."""
    report = done["QUANTIZE_MODEL"].report(QualityReport)
    assert report.gate.verdict is GateVerdict.PASSED
    assert report.artifact is not None
    assert report.artifact.sample
    path = done["QUANTIZE_MODEL"].directory / report.artifact.path
    assert path.read_bytes()[:4] == GGUF_MAGIC
    assert done["QUANTIZE_MODEL"].final.state is JobState.COMPLETED


def test_a_file_of_another_job_is_judged_by_a_limit_of_its_own(done: dict[str, Done]) -> None:
    """The same file fails where only 0.1 % may be lost: the job ends not met, and a peer is asked to recover it."""
    report = done["EVALUATE_QUALITY"].report(QualityReport)
    assert report.candidate == "Q4_0.gguf"
    assert report.gate.verdict is GateVerdict.FAILED
    assert done["EVALUATE_QUALITY"].final.state is JobState.NOT_MET
    assert report.handoffs[0].handoff.to_agent == "fine-tuning-specialist"


def test_a_file_is_loaded_as_it_is(done: dict[str, Done]) -> None:
    """The shipped Q4_1 file itself, not a form made of it."""
    report = done["usual load"].report(PerformanceReport)
    assert report.strategy.weight_format == "Q4_1"
    assert all(level.failed == 0 and level.completed for level in report.load.levels)


def test_shared_prefixes_the_engines_own_figures_and_a_profile_are_reported(done: dict[str, Done]) -> None:
    """Some of the prompts' tokens came from the cache; `/metrics` and the profile are in both forms of the report."""
    load = done["usual load"].report(PerformanceReport).load
    assert (load.shared_prefix_tokens, load.prefix_caching) == (12, True)
    assert 0 < max(level.cached_share for level in load.levels) < 1
    made = [level.resources.engine.generated_tokens for level in load.levels if level.resources.engine]
    assert made == [4 * level.completed for level in load.levels]
    assert load.profile is not None
    assert any("nsys profile" in note for note in load.profile.notes)
    text = (done["usual load"].directory / "report.md").read_text()
    assert {"## Where the time went", "As the engine said of itself (`/metrics`), and NVML of the GPUs:"} <= set(
        text.splitlines()
    )


def test_a_load_has_the_shape_that_was_asked_for(done: dict[str, Done]) -> None:
    """Evenly spaced, then a trace with lengths of its own, then rates that rise until the SLA breaks."""
    load = done["BENCHMARK_INFERENCE"].report(PerformanceReport).load
    evenly, trace, *stress = load.levels
    assert (evenly.arrivals, evenly.setting, evenly.requests) == (Arrivals.CONSTANT, 4, 4)
    assert trace.arrivals is Arrivals.TRACE
    (rows,) = done["BENCHMARK_INFERENCE"].directory.glob("load-*.jsonl")
    traced = [row for line in rows.read_bytes().splitlines() if (row := orjson.loads(line))["arrivals"] == "trace"]
    lengths = sorted((row["prompt_tokens"], row["output_tokens"]) for row in traced)
    assert lengths == [(it["input_tokens"], it["output_tokens"]) for it in TRACE]
    rates = [level.setting for level in stress]
    assert rates == sorted(rates)
    assert all(level.goodput_rps is not None for level in load.levels)
    assert load.knee is not None
    assert (load.knee.held or 0) < (load.knee.broke or math.inf)
    assert load.knee.broke in {None, rates[-1]}


def test_a_soak_lasts_as_long_as_was_asked(done: dict[str, Done]) -> None:
    """Two always open for a tenth of a minute, whatever number of requests that is; memory is in the report."""
    _, soak = done["soak"].report(PerformanceReport).load.levels
    assert soak.duration_s >= 6
    assert soak.completed > 2
    assert soak.failed == 0
    assert soak.resources.rss_peak_mb > 50


def test_strategies_are_compared_round_by_round(done: dict[str, Done]) -> None:
    """Each against the first, paired, with an interval that decides the verdict; only what was made was judged."""
    report = done["COMPARE_STRATEGIES"].report(ComparisonReport)
    assert [one.strategy.weight_format for one in report.contenders] == ["F16", "Q8_0", "Q2_K"]
    assert [one.gate is None for one in report.contenders] == [True, False, False]
    assert {len(one.rounds) for one in report.contenders} == {3}
    for contender in report.contenders[1:]:
        for pair in contender.against_first:
            decided = not pair.ratio.low <= 1 <= pair.ratio.high
            assert decided == (pair.verdict is not PairVerdict.NO_DIFFERENCE)
            assert pair.ratio.evidence is Evidence.MEASURED


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "int3; rm -rf"}, ErrorCode.UNSUPPORTED),
        ({"cmd": "QUANTIZE_MODEL", "model": "nobody", "method": "Q8_0"}, ErrorCode.UNKNOWN_MODEL),
        (
            {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "ct2-int8", "constraints": {"engines": ["vllm"]}},
            ErrorCode.UNSUPPORTED,
        ),
        (
            {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "Q8_0", "constraints": {"engines": ["openvino"]}},
            ErrorCode.UNSUPPORTED,
        ),
        (
            {"cmd": "EVALUATE_QUALITY", "model": MODEL, "candidate": MODEL, "tasks": ["../../etc/passwd"]},
            ErrorCode.UNSUPPORTED,
        ),
        ({"cmd": "BENCHMARK_INFERENCE", "model": MODEL, "engine": "tgi"}, ErrorCode.NOT_AVAILABLE),
        ({"cmd": "BENCHMARK_INFERENCE", "model": MODEL, "load": {"stress": True}}, ErrorCode.INVALID_COMMAND),
        ({"cmd": "BENCHMARK_INFERENCE", "model": MODEL, "load": {"generator": "wrk"}}, ErrorCode.INVALID_COMMAND),
        ({"cmd": "EVALUATE_QUALITY", "model": MODEL, "candidate": "Q8_0", "job": "../x"}, ErrorCode.INVALID_COMMAND),
        ({"cmd": "EVALUATE_QUALITY", "model": MODEL, "candidate": "nobody"}, ErrorCode.UNKNOWN_MODEL),
        ({"cmd": "COMPARE_STRATEGIES", "model": MODEL, "strategies": ["F16"]}, ErrorCode.INVALID_COMMAND),
        ({"cmd": "COMPARE_STRATEGIES", "model": MODEL, "strategies": ["Q8_0", "q8_0"]}, ErrorCode.INVALID_COMMAND),
    ],
)
async def test_what_cannot_be_done_is_refused_at_the_door(
    workshop: Workshop, tmp_path: Path, command: dict[str, object], code: ErrorCode
) -> None:
    """A typed error at once, and no job."""
    async with agent(tmp_path, workshop) as url:
        with pytest.raises(AgentError) as refused:
            await send(command, url)
    assert refused.value.code is code
    assert not list(tmp_path.glob("job-*"))


async def test_a_method_whose_tools_are_not_installed_names_them(workshop: Workshop, tmp_path: Path) -> None:
    """The command that installs the toolchain is in the answer, and there is no job."""
    bare = replace(workshop, cache=tmp_path / "empty")
    async with agent(tmp_path, bare) as url:
        with pytest.raises(AgentError, match="inferwright toolchain install transformers") as refused:
            await send({"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "GPTQ-W4A16"}, url)
        with pytest.raises(AgentError, match="inferwright toolchain install guidellm"):
            await send({"cmd": "BENCHMARK_INFERENCE", "model": MODEL, "load": {"generator": "guidellm"}}, url)
    assert refused.value.code is ErrorCode.TOOLCHAIN_MISSING


async def test_what_a_job_measured_has_a_price(done: dict[str, Done], workshop: Workshop, tmp_path: Path) -> None:
    """This machine at ten cents an hour and half used: $73 a month over half of the measured requests of a month."""
    prices = tmp_path / "prices.csv"
    columns = "provider,region,accelerator,count,kind,usd_per_hour,as_of,evidence,source"
    prices.write_text(f"{columns}\nmine,,host,1,on-demand,0.10,2026-11,mine,a bill\n")
    measured = done["BASELINE_ASSESSMENT"]
    load = measured.report(PerformanceReport).load
    rate = max(level.throughput_rps.value for level in load.levels if level.arrivals is Arrivals.CONCURRENCY)
    command = {"cmd": "COST_ANALYSIS", "model": MODEL, "job": measured.directory.name, "utilisation": "50%"}
    async with agent(measured.directory.parent, replace(workshop, price_file=prices)) as url:
        report = CostReport.model_validate_json((await send(command, url)).reply)
    (option,) = report.options
    assert option.monthly.value == pytest.approx(73)
    assert option.per_1k_requests is not None
    assert option.per_1m_tokens is not None
    assert option.per_1k_requests.value == pytest.approx(73 / (rate / 2 * 730 * 3600) * 1e3)
    assert option.per_1m_tokens.value == pytest.approx(option.per_1k_requests.value * 1e3 / WORKLOAD["output_tokens"])
    assert option.per_1k_requests.evidence is Evidence.MEASURED
