"""Toolchains: a specification in, an environment of its own with pinned packages out, made once and reused.

An environment is built beside its final name, checked, stamped and only then renamed, under a lock that other
processes wait for. Packages come as wheels through pip with the user's own pip settings; only what a specification
names as `built` is made from sources.
"""

import asyncio
import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from executors.files import locked
from executors.process import Child
from schemas.error import AgentError, ErrorCode
from schemas.toolchain import ToolchainSpec, ToolchainStamp, ToolchainState, ToolchainStatus

SPECIFICATIONS = Path(__file__).parent / "toolchains.toml"
FOLDER = "toolchains"
"""Under the cache that every function here is handed."""
STAMP = "toolchain.json"
WAITING = "waiting for another process that installs the same toolchain"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
PASSED_ON = ("PIP_", "XDG_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE")
"""What pip needs to reach the user's index: its own settings, proxies in either case, certificates."""

HELD_BACK = frozenset({"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_REQUIREMENT"})
"""Settings that would send packages elsewhere than into the environment."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Toolchain:
    """An installed environment."""

    spec: ToolchainSpec
    path: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        return next(iter(sorted(self.path.glob("lib/python*/site-packages"))), self.path / "lib")

    @property
    def files(self) -> tuple[Path, ...]:
        """The data files of its specification."""
        return tuple(self.site_packages / name for name in self.spec.files)

    @property
    def stamp(self) -> ToolchainStamp | None:
        """What was installed, or None where it was never finished."""
        try:
            return ToolchainStamp.model_validate_json((self.path / STAMP).read_bytes())
        except (OSError, ValidationError):
            return None


def known() -> dict[str, ToolchainSpec]:
    """All toolchains by name."""
    raw = tomllib.loads(SPECIFICATIONS.read_text(encoding="utf-8"))
    return {name: ToolchainSpec.model_validate({"name": name, **fields}) for name, fields in raw.items()}


def specification(name: str) -> ToolchainSpec:
    """One toolchain's specification.

    Raises:
        AgentError: `toolchain_missing` for a name that is not in the list.
    """
    specs = known()
    if name not in specs:
        raise AgentError(ErrorCode.TOOLCHAIN_MISSING, f"there is no toolchain {name!r}; there are {', '.join(specs)}")
    return specs[name]


def state(spec: ToolchainSpec, cache: Path) -> ToolchainState:
    """How a toolchain stands, by its stamp and files; cheap, imports nothing."""
    made = Toolchain(spec, cache / FOLDER / spec.name)
    if not made.path.exists():
        return ToolchainState.MISSING
    stamp = made.stamp
    if stamp is None or not made.python.exists() or not all(file.is_file() for file in made.files):
        return ToolchainState.BROKEN
    return ToolchainState.READY if stamp.digest == spec.digest(_version()) else ToolchainState.STALE


def find(name: str, cache: Path) -> Toolchain:
    """The installed toolchain.

    Raises:
        AgentError: `toolchain_missing` where it is not installed as specified.
    """
    spec = specification(name)
    found = state(spec, cache)
    if found is not ToolchainState.READY:
        raise AgentError(
            ErrorCode.TOOLCHAIN_MISSING,
            f"the toolchain {name} is {found} under {cache}; run: inferwright toolchain install {name}",
        )
    return Toolchain(spec, cache / FOLDER / name)


def installed(name: str, cache: Path) -> bool:
    """Whether `find` would find it."""
    return state(specification(name), cache) is ToolchainState.READY


def ready(cache: Path) -> frozenset[str]:
    """The names of all that `find` would find."""
    return frozenset(name for name, spec in known().items() if state(spec, cache) is ToolchainState.READY)


def status(spec: ToolchainSpec, cache: Path) -> ToolchainStatus:
    """One line of a list: state, size on disk in bytes, what is inside."""
    made = Toolchain(spec, cache / FOLDER / spec.name)
    stamp = made.stamp
    return ToolchainStatus(
        name=spec.name,
        summary=spec.summary,
        state=state(spec, cache),
        path=str(made.path),
        bytes=disk_use(made.path),
        packages=stamp.packages if stamp else (),
    )


def disk_use(path: Path) -> int:
    """Bytes of all files under `path`, links not followed; 0 where there is nothing."""
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


async def install(spec: ToolchainSpec, cache: Path, on_progress: Progress) -> Toolchain:
    """The toolchain, made or made again where it is missing, stale or broken; `on_progress` gets a line at a time.

    Raises:
        AgentError: `disk_full`, or `tool_failed` with the log that has pip's last lines.
    """
    root = cache / FOLDER
    _make_folder(root)
    final = Toolchain(spec, cache / FOLDER / spec.name)
    async with locked(root / f".{spec.name}.lock", lambda: on_progress(WAITING)):
        if state(spec, cache) is ToolchainState.READY:
            return final
        await asyncio.to_thread(_sweep, spec, root)
        _check_room(spec, root)
        partial = Toolchain(spec, root / f".{spec.name}.{os.getpid()}.partial")
        log = root / f"{spec.name}.log"
        log.write_bytes(b"")
        try:
            await _build(partial, log, on_progress)
            _replace(partial.path, final.path)
        finally:
            await asyncio.to_thread(shutil.rmtree, partial.path, ignore_errors=True)
    on_progress(f"{spec.name}: ready")
    return final


async def verify(toolchain: Toolchain, log: Path) -> None:
    """Import what must import and look for the files that must be there.

    Raises:
        AgentError: `tool_failed`, naming what is wrong.
    """
    lacking = [file.name for file in toolchain.files if not file.is_file()]
    if lacking:
        raise AgentError(ErrorCode.TOOL_FAILED, f"the toolchain {toolchain.spec.name} lacks {lacking[0]}")
    if toolchain.spec.imports:
        script = f"import {', '.join(toolchain.spec.imports)}"
        await _run(toolchain, [str(toolchain.python), "-I", "-c", script], log, f"import of {toolchain.spec.name}")


async def examine(toolchain: Toolchain, log: Path) -> None:
    """As `verify`, and one that is not whole counts as broken from then on, so that `install` makes it again.

    Raises:
        AgentError: `tool_failed`, naming what is wrong.
    """
    try:
        await verify(toolchain, log)
    except AgentError:
        (toolchain.path / STAMP).unlink(missing_ok=True)
        raise


async def remove(name: str, cache: Path) -> None:
    """Delete an installed toolchain; nothing happens where there is none.

    Raises:
        AgentError: `toolchain_missing` for a name that is not in the list.
    """
    path = cache / FOLDER / specification(name).name
    if await asyncio.to_thread(path.exists):
        async with locked(path.with_name(f".{name}.lock"), lambda: None):
            await asyncio.to_thread(_discard, path)


async def _build(made: Toolchain, log: Path, on_progress: Progress) -> None:
    """Make, fill, check and stamp an environment."""
    spec = made.spec
    await asyncio.to_thread(shutil.rmtree, made.path, ignore_errors=True)
    on_progress(f"{spec.name}: making an environment")
    await _run(made, [sys.executable, "-m", "venv", str(made.path)], log, "venv")
    pip = [str(made.python), *PIP]
    for wanted, flags in ((spec.requirements, ()), (spec.alone, ("--no-deps",))):
        if wanted:
            built = [word for name in spec.built for word in ("--no-binary", name)]
            command = [*pip, "install", "--only-binary", ":all:", *built, *flags, *wanted]
            await _run(made, command, log, f"pip install {' '.join(wanted)}", on_progress)
    on_progress(f"{spec.name}: checking")
    await verify(made, log)
    packages = await _run(made, [*pip, "freeze"], log, "pip freeze")
    stamp = ToolchainStamp(digest=spec.digest(_version()), python=_version(), packages=tuple(packages))
    (made.path / STAMP).write_text(stamp.model_dump_json(indent=2), encoding="utf-8")


async def _run(
    made: Toolchain, command: Sequence[str], log: Path, what: str, on_progress: Progress = lambda _: None
) -> list[str]:
    """The lines that a command prints; they go to the log too.

    Raises:
        AgentError: `disk_full` or `tool_failed` where it does not end well.
    """
    passed = {name for name in os.environ if name.upper().startswith(PASSED_ON)} - HELD_BACK
    env = {name: os.environ[name] for name in passed}
    lines: list[str] = []
    async with Child(command, log=log, env=env, read_output=True) as child:
        async for raw in child.lines():
            lines.append(raw.decode(errors="replace"))
            on_progress(f"{made.spec.name}: {lines[-1].strip()}")
            with log.open("ab") as file:
                file.write(raw + b"\n")
        code = await child.wait()
    if code:
        tail = child.tail()
        if "No space left" in tail or "Disk quota" in tail:
            raise AgentError(ErrorCode.DISK_FULL, f"{what} ran out of disk space under {made.path.parent}")
        last = tail.splitlines()[-1].strip() if tail else "it said nothing"
        raise AgentError(ErrorCode.TOOL_FAILED, f"{what} failed ({last}); the whole story is in {log}")
    return lines


def _make_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError(ErrorCode.TOOL_FAILED, f"toolchains cannot be kept in {root}: {error.strerror}") from error


def _check_room(spec: ToolchainSpec, root: Path) -> None:
    free = shutil.disk_usage(root).free // 10**6
    if free < spec.disk_mb:
        raise AgentError(
            ErrorCode.DISK_FULL, f"the toolchain {spec.name} needs {spec.disk_mb} MB and {root} has {free} MB free"
        )


def _sweep(spec: ToolchainSpec, root: Path) -> None:
    """Delete what processes that were killed left behind; only the holder of the lock may."""
    for kind in ("partial", "old"):
        for path in root.glob(f".{spec.name}.*.{kind}"):
            shutil.rmtree(path)


def _replace(partial: Path, final: Path) -> None:
    """Put a finished environment in place of what was there."""
    _discard(final)
    partial.rename(final)


def _discard(path: Path) -> None:
    """Delete a tree; it loses its name first, so that nobody finds half of it."""
    if path.exists():
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.rename(old)
        shutil.rmtree(old)


def _version() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"
