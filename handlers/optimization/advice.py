"""A request in, a plan out, and nothing carried out: the advisory mode."""

import asyncio
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from executors import memory, models
from executors.compress.gguf_header import read_header
from executors.compress.methods import GGUF_ENGINE
from executors.files import write_whole
from executors.host import identity, probe
from handlers.workbench.bench import Bench
from handlers.workbench.engines import servable
from handlers.workbench.memory import memory_of, recalled
from handlers.workshop import Workshop
from planners.catalog import accelerator_from_host, find_hardware, find_model, model_from_config
from planners.corrections import Corrections, planner_version
from planners.gguf import model_from_gguf
from planners.plan import Facts, plan
from planners.prices import PriceTable, load_prices
from planners.space import Servable
from schemas.command import Constraints, Mode, OptimizeInference, Workload
from schemas.correction import Correction
from schemas.hardware import HostFacts, Pool
from schemas.model import ModelFacts
from schemas.plan import Plan

PROBE_KEEP_S = 3600.0
PLANS_KEPT = 64
_PLANNING = ThreadPoolExecutor(1, "planner")
"""One plan at a time, beside the loop: each takes a core and some hundred megabytes for a blink."""
HOST = frozenset({"host", "this host", "this-host", "localhost"})
"""How a request names the machine that the agent runs on."""


_Stamp = tuple[Path, int, int]
"""A file as it was: path, nanoseconds of its last change, bytes."""


class _Basis(NamedTuple):
    """All that a plan stands on, as something that can be looked up."""

    command: str
    model: str
    """Its facts where no GGUF file of its own is here."""
    file: _Stamp | None
    host: str | None
    prices: _Stamp | None
    memory: _Stamp | None
    servable: Servable


async def advise(command: OptimizeInference, workshop: Workshop) -> Plan:
    """The plan for `command`.

    Raises:
        AgentError: `unknown_model`, `unknown_hardware`, `unreadable_model`.
    """
    host = await _probe(workshop.cache / f"host-{identity()}.json") if on_host(command) else None
    path = models.locate(command.model, workshop.model_roots)
    basis = _Basis(
        command=command.model_dump_json(exclude={"respond_format", "component_id"}),
        model="" if path else model_of(command.model, workshop).model_dump_json(),
        file=_stamp(path) if path else None,
        host=host.model_dump_json() if host else None,
        prices=_stamp(workshop.price_file) if workshop.price_file else None,
        memory=_stamp(memory_of(workshop, path)) if path and host else None,
        servable=servable(workshop) if host else None,
    )
    return await asyncio.get_running_loop().run_in_executor(_PLANNING, _planned, basis)


@lru_cache(maxsize=PLANS_KEPT)
def _planned(basis: _Basis) -> Plan:
    """The same request and facts give the same plan, so it is made once."""
    command = OptimizeInference.model_validate_json(basis.command)
    model = from_file(basis.file[0]) if basis.file else ModelFacts.model_validate_json(basis.model)
    host = HostFacts.model_validate_json(basis.host) if basis.host else None
    prices = basis.prices[0] if basis.prices else None
    known = memory.recall(basis.memory[0], planner_version()) if basis.memory else ()
    return plan(command, facts(model, command, prices, host, known=known, servable=basis.servable))


def _stamp(path: Path) -> _Stamp | None:
    if not path.exists():
        return None
    known = path.stat()
    return path, known.st_mtime_ns, known.st_size


def on_host(command: OptimizeInference) -> bool:
    """Whether the hardware asked for is this machine."""
    hardware = command.constraints.hardware
    return isinstance(hardware, str) and hardware.strip().casefold() in HOST


def at_hand(command: OptimizeInference, workshop: Workshop) -> bool:
    """Whether weights and hardware are here, so that the command can be carried out and not only planned."""
    return on_host(command) and models.locate(command.model, workshop.model_roots) is not None


def known(command: OptimizeInference, workshop: Workshop) -> None:
    """Refuse at the door what no plan can be made for.

    Raises:
        AgentError: `unknown_model`, `unknown_hardware`, each with the nearest names.
    """
    model_of(command.model, workshop)
    if not on_host(command):
        find_hardware(command.constraints.hardware)


def model_of(name: str, workshop: Workshop) -> ModelFacts:
    """The facts of a model: from its own file or its folder's description where one is here, else from the catalog."""
    roots = workshop.model_roots
    path = models.locate(name, roots) or models.locate_folder(name, roots)
    return from_file(path) if path else find_model(name)


def from_file(path: Path) -> ModelFacts:
    """The facts that a GGUF file, or a folder's configuration, states about itself."""
    if path.is_dir():
        return model_from_config(models.config(path), path.name)
    return model_from_gguf(read_header(path), path.stem)


def facts(
    model: ModelFacts,
    command: OptimizeInference,
    prices: Path | None,
    host: HostFacts | None,
    *,
    known: tuple[Correction, ...] = (),
    servable: Servable = None,
) -> Facts:
    """What the planner is told; `host` where this machine is the only hardware, `known` what was measured on it."""
    here = (Pool(accelerator=accelerator_from_host(host), count=1),) if host else ()
    return Facts(
        model=model,
        pools=here or find_hardware(command.constraints.hardware),
        host=host,
        prices=prices_of(prices),
        corrections=Corrections(known),
        servable=servable,
    )


async def facts_of(bench: Bench, request: OptimizeInference) -> Facts:
    """What a job's plan stands on: its model's own file, this host as it is now, what earlier jobs measured on it."""
    known = (await recalled(bench)).corrections
    prices, ready = bench.workshop.price_file, servable(bench.workshop)
    return facts(from_file(bench.source), request, prices, bench.idle_host, known=known, servable=ready)


async def plan_on_host(bench: Bench, workload: Workload) -> Plan:
    """The plan for serving the bench's model on this machine, where nothing but the traffic is asked."""
    request = OptimizeInference(
        cmd="OPTIMIZE_INFERENCE",
        model=bench.model,
        workload=workload,
        constraints=Constraints(hardware="host", engines=(GGUF_ENGINE,)),
        mode=Mode.RUN,
    )
    return plan(request, await facts_of(bench, request))


def prices_of(own: Path | None) -> PriceTable:
    """The shipped prices, with a user's own over them."""
    return load_prices(own.read_text() if own else None)


async def _probe(kept: Path) -> HostFacts:
    """The host's figures, measured at most once in `PROBE_KEEP_S`: a plan must not disturb what is being measured."""
    if kept.exists() and time.time() - kept.stat().st_mtime < PROBE_KEEP_S:
        return HostFacts.model_validate_json(kept.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        host = await probe(Path(folder) / "log")
    write_whole(kept, host.model_dump_json())
    return host
