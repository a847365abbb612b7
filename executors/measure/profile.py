"""Where an engine spends its time: a served model under load in, the functions with the largest shares out.

`perf` samples all threads of the engine's processes; py-spy the Python functions of those that run Python. Both only
look on for some seconds, beside load that nobody counts, and what is not here is named.
"""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from executors.measure.load import LoadGenerator
from executors.process import Child
from executors.serve.engine import Endpoint
from executors.toolchain import Toolchain
from schemas.measurement import LevelSpec
from schemas.resources import Hotspot, Profile

SECONDS = 6
RATE_HZ = 199
"""Samples a second of each thread; a prime number keeps out of step with periodic work."""
EVENT = "cpu-clock"
"""A timer of the kernel's: virtual machines have no hardware counters, and a share of time is what is asked."""
MOST = 10
"""Hotspots kept of each tool."""
FEWEST_SHARE = 0.01
ENDLESS = 10**6
SETTLE_S = 1.0
PYSPY = "pyspy"


@dataclass(frozen=True)
class Profiler:
    """Where the samples and the tools' words go, and py-spy where it is installed."""

    log: Path
    pyspy: Toolchain | None
    seconds: int = SECONDS

    async def profile(self, endpoint: Endpoint, generator: LoadGenerator, level: LevelSpec, load: str) -> Profile:
        """What the engine behind `endpoint` does under `level`, which `load` describes."""
        span = self.seconds + 2 * SETTLE_S
        endless = level.model_copy(update={"requests": ENDLESS, "limit_s": span})
        under_load = asyncio.create_task(generator.send(endless, 0))
        try:
            await asyncio.sleep(SETTLE_S)
            found = await asyncio.gather(self._perf(endpoint.pid), self._pyspy(endpoint.pid))
        finally:
            under_load.cancel()
            await asyncio.gather(under_load, return_exceptions=True)
        return Profile(
            seconds=self.seconds,
            load=load,
            hotspots=tuple(spot for spots, _ in found for spot in spots),
            notes=tuple(note for _, notes in found for note in notes),
        )

    async def _perf(self, pid: int) -> tuple[Sequence[Hotspot], Sequence[str]]:
        perf = shutil.which("perf")
        if perf is None:
            return (), ("perf is not installed here (Debian: linux-perf), so native functions were not sampled.",)
        samples = self.log.with_suffix(".perf")
        pids = ",".join(str(process.pid) for process in _family(pid))
        record = ["record", "-q", "-e", EVENT, "-F", str(RATE_HZ), "-o", str(samples), "-p", pids]
        _, why = await self._run([perf, *record, "--", "sleep", str(self.seconds)], self.log)
        if why:
            return (), (f"perf may not sample here: {why} (see /proc/sys/kernel/perf_event_paranoid).",)
        report = ["report", "-q", "--stdio", "--no-children", "--sort", "symbol,dso", "-t", "\t", "-i", str(samples)]
        lines, why = await self._run([perf, *report], self.log)
        samples.unlink(missing_ok=True)
        if why:
            return (), (f"perf's samples could not be read: {why}.",)
        return _top("perf", dict(filter(None, map(_perf_line, lines)))), ()

    async def _pyspy(self, pid: int) -> tuple[Sequence[Hotspot], Sequence[str]]:
        if self.pyspy is None:
            return (), ("py-spy is not installed (inferwright toolchain install pyspy): no Python functions sampled.",)
        family = _family(pid)[1:]
        found = await asyncio.gather(*(self._spied(self.pyspy, process) for process in family))
        counts = sum((leaves for leaves, _ in found), Counter[str]())
        notes = [note for _, note in found if note]
        total = counts.total()
        if not total and not notes:
            notes.append("py-spy saw no Python function at work: the engine computes outside of Python.")
        return _top("py-spy", {name: count / total for name, count in counts.items()}), notes

    async def _spied(self, pyspy: Toolchain, process: psutil.Process) -> tuple[Counter[str], str]:
        """One process's samples by function, and why there are none where it may not be looked into."""
        folded = self.log.with_suffix(f".{process.pid}.folded")
        record = ["record", "--nonblocking", "-r", str(RATE_HZ), "-d", str(self.seconds), "-f", "raw"]
        argv = [str(pyspy.path / "bin" / "py-spy"), *record, "-o", str(folded), "-p", str(process.pid)]
        _, why = await self._run(argv, folded.with_suffix(".log"))
        leaves = _leaves(folded.read_text(errors="replace")) if folded.exists() else Counter[str]()
        folded.unlink(missing_ok=True)
        refused = why and _is_python(process)
        return leaves, f"py-spy may not look into process {process.pid}: {why}." if refused else ""

    async def _run(self, argv: Sequence[str], log: Path) -> tuple[list[str], str]:
        """What a command prints, and its last words where it failed."""
        async with Child(argv, log=log, read_output=True) as child:
            async with asyncio.timeout(5 * self.seconds + 30):
                lines = [line.decode(errors="replace") async for line in child.lines()]
                code = await child.wait()
        return lines, (child.tail().splitlines() or ["it said nothing"])[-1].strip() if code else ""


def _family(pid: int) -> list[psutil.Process]:
    """The guard and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _is_python(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "python" in Path(process.exe()).name
    return False


def _perf_line(line: str) -> tuple[str, float] | None:
    """One row of `perf report`: share, symbol with the ring it ran in, library; None for another line."""
    share, _, rest = line.partition("%\t")
    symbol, _, library = rest.partition("\t")
    if not library:
        return None
    name = symbol.strip().removeprefix("[.] ").removeprefix("[k] ")
    return f"{name} in {library.split()[0]}", float(share) / 100


def _leaves(folded: str) -> Counter[str]:
    """Samples by the function that ran, out of folded stacks: `outer;inner;leaf 12` a line."""
    counts: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        counts[stack.rpartition(";")[2]] += int(count)
    return counts


def _top(tool: str, shares: dict[str, float]) -> tuple[Hotspot, ...]:
    """The largest shares that are worth a line."""
    largest = sorted(shares.items(), key=lambda item: -item[1])[:MOST]
    return tuple(Hotspot(tool=tool, where=name, share=share) for name, share in largest if share >= FEWEST_SHARE)
