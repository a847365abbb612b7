"""Twenty-one varied requests and their plans as a person reads them, kept as pages to be reviewed by eye.

A change in facts or physics changes pages: run `python tests/planning/test_golden.py` to write them anew, and read the
difference as an expert would before committing it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from planners.catalog import accelerator_from_host, find_hardware, find_model, load_prices
from planners.plan import Facts, plan
from planners.render import plan_markdown
from schemas.command import OptimizeInference
from schemas.hardware import HostFacts, Pool

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
HOST = HostFacts.model_validate_json((GOLDEN / "host.json").read_bytes())
"""Two cores without AVX-512, as small cloud machines are."""


def page(fields: dict[str, Any]) -> str:
    """The request, and its plan as Markdown."""
    request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **fields})
    here = request.constraints.hardware == "host"
    pools = (
        (Pool(accelerator=accelerator_from_host(HOST), count=1),)
        if here
        else find_hardware(request.constraints.hardware)
    )
    facts = Facts(find_model(request.model), pools, HOST if here else None, load_prices(), silicon=False)
    return f"```json\n{json.dumps(fields)}\n```\n\n{plan_markdown(plan(request, facts))}"


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_the_one_that_was_reviewed(name: str) -> None:
    """To the byte; where this fails on purpose, write the pages anew and review them."""
    assert page(CASES[name]) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, fields in CASES.items():
        (GOLDEN / f"{name}.md").write_text(page(fields), encoding="utf-8")
