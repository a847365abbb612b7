"""What a folder's method lost, as it was measured, is what later plans say of the engines that load such folders."""

from dataclasses import replace
from pathlib import Path

import pytest
from closing.agent import SMALL, agent
from closing.test_learned import MODEL, by_format
from conftest import CACHE
from planning.test_catalog import HOST

from cli.send import Watch, send
from executors import memory
from handlers.optimization.advice import from_file
from handlers.workbench.memory import memory_of
from handlers.workshop import Workshop
from planners.catalog import accelerator_from_host, load_prices
from planners.corrections import Corrections, planner_version
from planners.plan import Facts, plan
from schemas.command import OptimizeInference
from schemas.evidence import Evidence
from schemas.findings import QualityReport
from schemas.hardware import Pool
from schemas.plan import Plan

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
METHODS = {"smoothquant-w8a8": "W8A8", "awq-w4a16": "AWQ-INT4", "gptq-w4a16": "GPTQ-INT4"}
LIMIT = 0.2
LITTLE = replace(SMALL, calibration_samples=4, calibration_tokens=64, training_steps=2, judge_tokens=1024)


def planned(source: Path, corrections: Corrections) -> Plan:
    """What is planned for vLLM on a machine with AVX-512, whatever this one has."""
    asked = {"cmd": "OPTIMIZE_INFERENCE", "model": MODEL, "targets": {"throughput": 0.1}}
    constraints = {"max_quality_loss": LIMIT, "hardware": "host", "engines": ["vllm"]}
    host = HOST.model_copy(update={"isa": ("avx2", "avx512f"), "memory_bytes": 2**34, "memory_free_bytes": 2**34})
    pools = (Pool(accelerator=accelerator_from_host(host), count=1),)
    facts = Facts(from_file(source), pools, host, load_prices(), silicon=False, corrections=corrections)
    return plan(OptimizeInference.model_validate({**asked, "constraints": constraints}), facts)


@pytest.mark.parametrize(("name", "form"), METHODS.items())
async def test_a_measured_loss_of_a_folder_replaces_the_predicted_one(
    name: str, form: str, shipped: Path, tmp_path: Path
) -> None:
    """What a job measured is kept; the next plan for vLLM has it, or leaves out a form that surely lost too much."""
    shop = Workshop(cache=CACHE, model_roots=(shipped.parent,), memory=tmp_path / "memory", effort=LITTLE)
    asked = {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": name, "constraints": {"max_quality_loss": LIMIT}}
    async with agent(tmp_path, shop) as url:
        job = (await send(asked, url, watch=Watch())).job
    assert job is not None
    lost = QualityReport.model_validate_json((tmp_path / job / "report.json").read_bytes()).gate.quality
    known = memory.recall(memory_of(shop, shipped), planner_version())
    before, after = by_format(planned(shipped, Corrections())), by_format(planned(shipped, Corrections(known)))
    assert {one.strategy.weight_format: one.measured for one in known} == pytest.approx({form: lost.loss})
    predicted = before[form, False].prediction.quality_loss
    assert (predicted.evidence, predicted.value <= LIMIT) == (Evidence.CALIBRATED, True)
    if lost.loss_low > LIMIT:
        assert (form, False) not in after
    else:
        said = after[form, False].prediction.quality_loss
        assert (said.evidence, said.value) == (Evidence.MEASURED, pytest.approx(lost.loss))
