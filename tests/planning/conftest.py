from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planners.catalog import accelerator_from_host, find_hardware, find_model, load_prices
from planners.corrections import Corrections
from planners.plan import Facts, plan
from schemas.command import OptimizeInference
from schemas.hardware import HostFacts, Pool
from schemas.plan import Plan

Answer = Callable[..., Plan]


def small_host() -> HostFacts:
    """Two cores without AVX-512, as small cloud machines are."""
    return HostFacts.model_validate_json((Path(__file__).parent / "golden/host.json").read_bytes())


def facts_for(request: OptimizeInference, corrections: Corrections | None = None, *, silicon: bool = False) -> Facts:
    """What a plan for this request stands on, without any side effect."""
    host = small_host() if request.constraints.hardware == "host" else None
    pools = (
        (Pool(accelerator=accelerator_from_host(host), count=1),)
        if host
        else find_hardware(request.constraints.hardware)
    )
    return Facts(find_model(request.model), pools, host, load_prices(), corrections or Corrections(), silicon=silicon)


@pytest.fixture
def answer() -> Answer:
    """A request's fields in, its plan out."""

    def ask(corrections: Corrections | None = None, **fields: Any) -> Plan:
        request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **fields})
        return plan(request, facts_for(request, corrections))

    return ask
