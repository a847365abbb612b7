"""A request in, a plan out, and nothing carried out: the advisory mode."""

import tempfile
import time
from pathlib import Path

from executors import models
from executors.files import write_whole
from executors.host import identity, probe
from handlers.workshop import Workshop
from planners.catalog import accelerator_from_host, find_hardware, find_model
from planners.corrections import Corrections
from planners.gguf import model_from_gguf_metadata, parse_gguf_header
from planners.plan import Facts, plan
from planners.prices import load_prices
from schemas.command import OptimizeInference
from schemas.hardware import HostFacts, Pool
from schemas.model import ModelFacts
from schemas.plan import Plan

PROBE_KEEP_S = 3600.0
HOST = frozenset({"host", "this host", "this-host", "localhost"})
"""How a request names the machine that the agent runs on."""


async def advise(command: OptimizeInference, workshop: Workshop) -> Plan:
    """The plan for `command`.

    Raises:
        AgentError: `unknown_model`, `unknown_hardware`, `unreadable_model`.
    """
    host = await _probe(workshop.cache / f"host-{identity()}.json") if on_host(command) else None
    return plan(command, facts(model_of(command.model, workshop), command, workshop, host))


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
    """The facts of a model: from its own file where it is here, else from the catalog."""
    path = models.locate(name, workshop.model_roots)
    return from_file(path) if path else find_model(name)


def from_file(path: Path) -> ModelFacts:
    """The facts that a GGUF file states about itself."""
    return model_from_gguf_metadata(parse_gguf_header(models.header(path)), path.stem)


def facts(model: ModelFacts, command: OptimizeInference, workshop: Workshop, host: HostFacts | None) -> Facts:
    """What the planner is told; `host` where this machine is the only hardware."""
    prices = workshop.price_file
    here = (Pool(accelerator=accelerator_from_host(host), count=1),) if host else ()
    return Facts(
        model=model,
        pools=here or find_hardware(command.constraints.hardware),
        host=host,
        prices=load_prices(prices.read_text() if prices else None),
        corrections=Corrections(),
    )


async def _probe(kept: Path) -> HostFacts:
    """The host's figures, measured at most once in `PROBE_KEEP_S`: a plan must not disturb what is being measured."""
    if kept.exists() and time.time() - kept.stat().st_mtime < PROBE_KEEP_S:
        return HostFacts.model_validate_json(kept.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        host = await probe(Path(folder) / "log")
    write_whole(kept, host.model_dump_json())
    return host
