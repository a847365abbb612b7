"""Probes this machine: what it is (from the kernel) and what it does (measured), in a second or two."""

import asyncio
import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

import psutil

from executors.process import Child
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts

WORKER = Path(__file__).parent / "workers" / "host_probe.py"
ISA = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "sve",
    "i8mm",
)
BUSY_SAMPLE_S = 0.5
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def identity() -> str:
    """What tells this machine from another that shares its directories: eight hexadecimal digits."""
    known = next((path.read_bytes() for path in MACHINE_IDS if path.exists()), platform.node().encode())
    return hashlib.sha256(known).hexdigest()[:8]


class Rates(Record):
    """What one probe run measured: GB/s read and fp32 GFLOP/s."""

    bandwidth_gbs: float
    gflops: float


async def probe(log: Path) -> HostFacts:
    """The facts of this host; bandwidth and matrix rate with one thread and with one per core.

    Raises:
        AgentError: `tool_failed` where the measurement does not run.
    """
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = min(cores, len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else cores)
    load = os.getloadavg()[0]
    own = _own_cpu_s()
    used = await asyncio.to_thread(psutil.cpu_percent, BUSY_SAMPLE_S) / 100 * (os.cpu_count() or cores)
    busy = max(0.0, used - (_own_cpu_s() - own) / BUSY_SAMPLE_S)
    rates = {threads: await _rates(threads, log) for threads in sorted({1, usable})}
    memory = psutil.virtual_memory()
    info = _cpuinfo()
    return HostFacts(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=usable,
        threads=os.cpu_count() or usable,
        isa=tuple(flag for flag in ISA if flag in (info.get("flags") or info.get("Features", "")).split()),
        cache_bytes=_caches(),
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        bandwidth_gbs={threads: rate.bandwidth_gbs for threads, rate in rates.items()},
        gflops={threads: rate.gflops for threads, rate in rates.items()},
        busy_cores=round(busy, 2),
        load_average=load,
        gpus=await gpus(log),
    )


def _own_cpu_s() -> float:
    """CPU seconds of this process so far: what the agent does while it looks is no other work."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


async def _rates(threads: int, log: Path) -> Rates:
    env = dict.fromkeys(BLAS_THREADS, str(threads))
    async with Child([sys.executable, str(WORKER)], log=log, env=env, read_output=True) as child:
        output = b"".join([line async for line in child.lines()])
        if await child.wait() != 0:
            raise AgentError(ErrorCode.TOOL_FAILED, f"the host probe failed; its log is {log.name}: {child.tail()}")
    return Rates.model_validate_json(output)


async def gpus(log: Path) -> tuple[str, ...]:
    """NVIDIA's GPUs by name; none where their driver's own tool is not there or finds none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    async with Child([tool, "--query-gpu=name", "--format=csv,noheader"], log=log, read_output=True) as child:
        names = tuple([line.decode().strip() async for line in child.lines()])
        return names if await child.wait() == 0 else ()


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _caches() -> dict[str, int]:
    """Bytes by level (`L1d`, `L2`, `L3`) as one core sees them; empty where the kernel does not say."""
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = ((index / name).read_text().strip() for name in ("level", "type"))
        size = (index / "size").read_text().strip()
        if kind != "Instruction":
            caches[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size.removesuffix("K")) * 1024
    return caches
