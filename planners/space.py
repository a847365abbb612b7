"""Model, pools and engines in, every candidate out, as arrays: a cell is a way to lay out a group, a column a batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from planners.performance.formats import weight_format
from planners.speculation import NONE, Speculation, speculations
from planners.support import Engine, Rule, alike, engines, rules
from planners.workload import Traffic
from schemas.hardware import Accelerator, AcceleratorKind, Pool
from schemas.model import ModelFacts

Ints = NDArray[np.int64]
Servable = frozenset[tuple[str, str]] | None
"""Engines and the weight formats that can be made and served with what is installed; None where nobody asks."""

BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
WIDE_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CPU_BATCHES = (1, 2, 4, 8)
WIDE_POOLS = 8
"""With more pools than this, settings that move figures by a few percent keep their first value."""

_IMATRIX = frozenset({"Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL", "Q3_K_M", "Q2_K"})
_SIXTEEN_BITS, _EIGHT_BITS = 16.0, 8.0
_BITSANDBYTES = frozenset({"NF4", "BNB-INT8"})
_LAYOUT = ("group", "tp", "pp", "replicas", "batched_tokens", "threads")
_SETTINGS = ("chunked", "prefix", "speculation", "scheduling")


@dataclass(frozen=True)
class Group:
    """What speeds and sizes depend on besides the layout."""

    engine: str
    accelerator: Accelerator
    available: int
    weight_format: str
    importance_matrix: bool
    kv_format: str


@dataclass(frozen=True)
class Refused:
    """Candidates that no kernel or layout can run: how many, one of them, and why."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True)
class Space:
    """Cells (C,) by columns of `batches` (B,); every cell names its group. Booleans as 0 and 1, choices as indices."""

    groups: tuple[Group, ...]
    batches: Ints
    ahead: tuple[Speculation, ...]
    """What `speculation` counts."""
    group: Ints
    tp: Ints
    pp: Ints
    replicas: Ints
    batched_tokens: Ints
    threads: Ints
    chunked: Ints
    prefix: Ints
    speculation: Ints
    scheduling: Ints
    refused: tuple[Refused, ...] = ()

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.group.size * self.batches.size

    @property
    def joins(self) -> NDArray[np.bool_]:
        """Where the engine lets requests join the batch that runs, (C, 1)."""
        return np.array([engines()[group.engine].joins for group in self.groups], dtype=np.bool_)[self.group][:, None]

    def pass_tokens(self, prompt: int) -> Ints:
        """Tokens of one pass at the most, (C,): without chunks a whole prompt of `prompt` tokens is one pass."""
        return np.where(self.chunked == 1, self.batched_tokens, np.maximum(self.batched_tokens, prompt))

    def only(self, cells: NDArray[np.bool_]) -> "Space":
        """The cells where `cells` (C,) is true; groups keep their numbers."""
        return replace(self, **{name: getattr(self, name)[cells] for name in (*_LAYOUT, *_SETTINGS)})


def build(
    model: ModelFacts, pools: tuple[Pool, ...], wanted: tuple[str, ...], traffic: Traffic, servable: Servable = None
) -> Space:
    """Every candidate of the wanted engines on the pools; of the `servable` ones where that is said."""
    wide = len(pools) > WIDE_POOLS
    groups: list[Group] = []
    blocks: list[Ints] = []
    refused: dict[str, tuple[int, str]] = {}
    layouts: dict[tuple[str, int, str, tuple[str, ...]], Ints] = {}
    cpu = all(pool.accelerator.kind is AcceleratorKind.CPU for pool in pools)
    batches = np.array(CPU_BATCHES if cpu else WIDE_BATCHES if wide else BATCHES, dtype=np.int64)
    ahead = (NONE,) if wide else speculations(model)
    for pool, rule in product(pools, (rule for rule in rules() if rule.engine in wanted)):
        engine = engines()[rule.engine]
        key = (pool.accelerator.key, pool.count, rule.engine, rule.ahead)
        if key not in layouts:
            layouts[key] = _layouts(model, pool, rule, traffic, ahead=ahead, wide=wide)
        cells = layouts[key]
        reason = _refusal(model, pool.accelerator, engine, rule) or _absent(rule, servable)
        if reason is not None:
            count, example = refused.get(reason, (0, f"{rule.engine} {rule.weight_format} on {pool.accelerator.key}"))
            refused[reason] = (count + cells.shape[1] * batches.size, example)
            continue
        for importance, kv in product(_importance(rule.weight_format), rule.kv_formats_on(pool.accelerator, model)):
            groups.append(Group(rule.engine, pool.accelerator, pool.count, rule.weight_format, importance, kv))
            blocks.append(np.vstack([np.full((1, cells.shape[1]), len(groups) - 1, dtype=np.int64), cells]))
    table = np.hstack(blocks) if blocks else np.zeros((10, 0), dtype=np.int64)
    columns = dict(zip((*_LAYOUT, *_SETTINGS), table, strict=True))
    named = tuple(Refused(reason, count, example) for reason, (count, example) in refused.items())
    return Space(groups=tuple(groups), batches=batches, ahead=ahead, refused=named, **columns)


def _refusal(model: ModelFacts, accelerator: Accelerator, engine: Engine, rule: Rule) -> str | None:
    if not rule.runs_on(accelerator):
        return f"{rule.engine} {engine.version}: {rule.why}"
    if not engine.serves(model):
        return f"{rule.engine} {engine.version} does not implement the {model.family} architecture"
    if not engine.attends(model, accelerator):
        return f"{rule.engine} {engine.version} has no kernels here for attention to selected tokens"
    if rule.weight_format in _BITSANDBYTES and model.experts is not None:
        return "bitsandbytes does not pack mixtures of experts"
    return _copied(model, accelerator, rule)


def _absent(rule: Rule, servable: Servable) -> str | None:
    if servable is None or any(name == rule.engine and alike(form, rule.weight_format) for name, form in servable):
        return None
    if all(name != rule.engine for name, _ in servable):
        return f"{rule.engine} is not installed on this machine"
    return f"nothing that is installed on this machine makes these weights for {rule.engine}"


def _copied(model: ModelFacts, accelerator: Accelerator, rule: Rule) -> str | None:
    """A checkpoint published in fewer bits has no 16-bit original: wider weight formats would only inflate it."""
    native, asked = model.native_format, rule.weight_format
    if native == "MXFP4" and asked != native:
        return "the model is published in MXFP4: any other format is a copy of a copy"
    if asked == "MXFP4" and asked != native:
        return "MXFP4 is planned only for models that are published in it"
    form = weight_format(asked)
    if native == "FP8" and form.bits >= _SIXTEEN_BITS:
        return "the model is published in FP8: 16-bit weights are its inflated copy"
    if native == "FP8" != asked and form.bits >= _EIGHT_BITS and "fp8" in accelerator.tflops:
        return "the model is published in FP8, which runs here: other 8-bit weights are a copy of a copy"
    return None


def _importance(name: str) -> tuple[bool, ...]:
    return (False, True) if name in _IMATRIX else (False,)


def _layouts(
    model: ModelFacts, pool: Pool, rule: Rule, traffic: Traffic, *, ahead: tuple[Speculation, ...], wide: bool
) -> Ints:
    """Rows tp, pp, replicas, batched tokens, threads, chunked, prefix, speculation, scheduling; a column a layout."""
    engine = engines()[rule.engine]
    settings = (
        engine.batched_tokens[-1:] if wide else engine.batched_tokens,
        _threads(pool.accelerator),
        (int(engine.chunked[0]),) if wide else tuple(int(flag) for flag in engine.chunked),
        (0, 1) if traffic.shared_prefix_tokens else (0,),
        (0,),
        range(1) if wide else range(len(engine.scheduling)),
    )
    plain = list(product(*settings))
    shapes = list(_shapes(model, pool, engine))
    rows = [(*shape, *setting) for shape in shapes for setting in plain]
    # Guesses are tried with the engine's own settings; on this host nothing fetches drafts.
    usual = [setting for setting in plain if setting[2] == int(engine.chunked[0]) and setting[5] == 0]
    rows += [
        (*shape, *setting[:4], number, 0)
        for number, way in enumerate(ahead)
        if way.guesses and way.method in rule.ahead and pool.accelerator.key != "host"
        for shape in shapes
        if shape[1] == 1 and way.drafts_on(engine.name, model, shape[0])
        for setting in usual
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 9).T


def _threads(accelerator: Accelerator) -> tuple[int, ...]:
    """All numbers of threads on the host, all cores elsewhere."""
    cores = next((int(name[6:]) for name in accelerator.features if name.startswith("cores=")), 1)
    if accelerator.key != "host":
        return (cores,)
    return tuple(sorted({1, *range(2, min(cores, 8) + 1), cores}))


def _shapes(model: ModelFacts, pool: Pool, engine: Engine) -> Iterator[tuple[int, int, int]]:
    """Tensor parallel, pipeline parallel and replicas that the pool holds and the heads divide by."""
    for tp in (1, 2, 4, 8, 16, 32):
        if tp > min(engine.max_tp, pool.count, pool.accelerator.per_node) or model.heads % tp:
            continue
        if model.latent is None and model.kv_heads % tp and tp % model.kv_heads:
            continue
        for pp in (1, 2, 4) if engine.pipeline else (1,):
            if tp * pp > pool.count or pp > model.layers:
                continue
            most = pool.count // (tp * pp)
            for replicas in sorted({*range(1, min(most, 8) + 1), *(n for n in (12, 16, 24, 32, 48) if n < most), most}):
                yield tp, pp, replicas
