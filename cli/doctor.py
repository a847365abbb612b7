"""What is here, what is missing, what to do: one line a finding, or JSON for a program."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator

import orjson
import psutil
from rich.console import Console

from cli.places import workshop
from executors import models, toolchain
from executors.broker import find_server
from schemas.base import Record
from schemas.error import AgentError

DISK_GB = 3.0
"""What a first run writes: toolchains, the model, a job's artifacts."""
MEMORY_GB = 2.0
BUSY_LOAD_PER_CORE = 0.5
GIGA = 1e9


class Finding(Record):
    """One thing looked at."""

    name: str
    ok: bool
    found: str
    advice: str = ""


async def run_doctor(*, json: bool) -> int:
    """Print the findings; 0 where nothing is missing that the demo needs, else 1."""
    findings = list(_findings())
    if json:
        sys.stdout.buffer.write(
            orjson.dumps([item.model_dump() for item in findings], option=orjson.OPT_INDENT_2) + b"\n"
        )
    else:
        console = Console()
        for item in findings:
            console.print("[green]ok  [/green] " if item.ok else "[yellow]mind[/yellow] ", end="")
            advice = "" if item.ok else f"  →  {item.advice}"
            console.print(f"{item.name}: {item.found}{advice}", markup=False, highlight=False, soft_wrap=True)
    return 0 if all(item.ok for item in findings) else 1


def _findings() -> Iterator[Finding]:
    place = workshop()
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(name="Python", ok=sys.version_info >= (3, 11), found=version, advice="install Python 3.11 or newer")
    yield _machine()
    place.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.cache).free / GIGA
    yield Finding(
        name="disk", ok=free >= DISK_GB, found=f"{free:.1f} GB free", advice=f"free {DISK_GB:.0f} GB for a first run"
    )
    memory = psutil.virtual_memory().available / GIGA
    yield Finding(
        name="memory", ok=memory >= MEMORY_GB, found=f"{memory:.1f} GB free", advice=f"free {MEMORY_GB:.0f} GB"
    )
    yield _broker()
    plots = importlib.util.find_spec("matplotlib") is not None
    advice = "pip install 'inferwright[plots]'"
    yield Finding(name="plots", ok=plots, found="matplotlib" if plots else "no matplotlib", advice=advice)
    for name in toolchain.known():
        here = toolchain.installed(name, place.cache)
        advice = f"inferwright toolchain install {name}"
        yield Finding(name=f"toolchain {name}", ok=here, found="installed" if here else "not installed", advice=advice)
    found = models.names(place.model_roots)
    roots = ", ".join(map(str, place.model_roots))
    yield Finding(
        name="models", ok=bool(found), found=", ".join(found) or "none", advice=f"put GGUF files into {roots}"
    )


def _broker() -> Finding:
    try:
        return Finding(name="nats-server", ok=True, found=find_server())
    except AgentError as error:
        return Finding(name="nats-server", ok=False, found="not installed", advice=error.detail)


def _machine() -> Finding:
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    advice = "measurements on a busy machine say little; wait until it is idle"
    return Finding(
        name="load", ok=load <= BUSY_LOAD_PER_CORE * cores, found=f"{load:.1f} on {cores} cores", advice=advice
    )
