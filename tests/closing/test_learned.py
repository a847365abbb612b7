"""What a job measured of a format is what the next plan says of it, and plans by."""

from dataclasses import replace
from pathlib import Path

import pytest
from closing.agent import agent

from cli.send import Watch, send
from handlers.workshop import Workshop
from schemas.evidence import Evidence
from schemas.findings import QualityReport
from schemas.plan import Candidate, Plan

MODEL = "SmolLM2-135M-Instruct"
LIMIT = 0.05
QUESTION = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": MODEL,
    "mode": "plan",
    "targets": {"throughput": 0.1},
    "constraints": {"max_quality_loss": LIMIT, "hardware": "host", "engines": ["llama.cpp"]},
    "workload": {"input_tokens": 16, "output_tokens": 4},
}


def by_format(plan: Plan) -> dict[tuple[str, bool], Candidate]:
    """The plan's candidates in the order of trial, by format and whether an importance matrix is used."""
    return {(one.strategy.weight_format, one.strategy.importance_matrix): one for one in plan.chosen}


@pytest.mark.real
@pytest.mark.timeout(600)
async def test_a_measured_loss_replaces_the_predicted_one(workshop: Workshop, tmp_path: Path) -> None:
    """Q3_K_M, tried by the first plan, is measured beyond the limit and left out of the next; Q8_0 keeps its loss."""
    shop = replace(workshop, memory=tmp_path / "memory")
    reports = {}
    async with agent(tmp_path, shop) as url:
        before = Plan.model_validate_json((await send(QUESTION, url)).reply)
        for name in ("Q3_K_M", "Q8_0"):
            asked = {
                "cmd": "QUANTIZE_MODEL",
                "model": MODEL,
                "method": name,
                "constraints": {"max_quality_loss": LIMIT},
            }
            job = (await send(asked, url, watch=Watch())).job
            assert job is not None
            reports[name] = QualityReport.model_validate_json((tmp_path / job / "report.json").read_bytes())
        after = Plan.model_validate_json((await send(QUESTION, url)).reply)
    assert by_format(before)["Q3_K_M", False].prediction.quality_loss.evidence is Evidence.CALIBRATED
    assert reports["Q3_K_M"].gate.quality.loss_low > LIMIT
    assert ("Q3_K_M", False) not in by_format(after)
    said = by_format(after)["Q8_0", False].prediction.quality_loss
    assert said.evidence is Evidence.MEASURED
    assert said.value == pytest.approx(reports["Q8_0"].gate.quality.loss)
    assert by_format(before)["Q8_0", False].prediction.quality_loss.evidence is Evidence.CALIBRATED
