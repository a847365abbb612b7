"""Names as people write them in, facts of models and hardware out; every fact is a data row with its source."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache

from planners.architecture import attention_of, counted, model_from_config
from planners.gguf import model_from_gguf
from planners.prices import load_prices
from planners.tables import table, words
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Evidence
from schemas.hardware import Accelerator, AcceleratorKind, HostFacts, Pool
from schemas.model import Experts, LatentAttention, ModelFacts

__all__ = [
    "accelerator_from_host",
    "find_hardware",
    "find_model",
    "hardware",
    "load_prices",
    "model_from_config",
    "model_from_gguf",
    "models",
]

# Words that say how a model was tuned or stored, not what it is made of.
_TUNED = frozenset({"meta", "hf", "instruct", "chat", "it", "base", "pt", "text", "preview", "latest", "99", "99.9"})
_STORED = frozenset(
    {"gguf", "gptq", "awq", "fp8", "bf16", "fp16", "f16", "int4", "int8", "w4a16", "w8a8", "nf4", "nvfp4"}
)
_LAID_OUT = frozenset({"mxfp4", "static", "dynamic", "pertensor", "perchannel", "g128", "block"})
_COUNT_FIRST = re.compile(r"\s*(?P<count>\d{1,4})\s*[xX*×]\s*(?P<name>.+)")  # noqa: RUF001 - people write the sign
_COUNT_LAST = re.compile(r"\s*(?P<name>.+?)\s*[xX×]\s*(?P<count>\d{1,4})\s*")  # noqa: RUF001 - people write the sign
_LATENT = ("kv_rank", "rope_dim", "q_rank", "nope_dim", "value_dim", "selected", "index_heads", "index_dim")
_ANY = frozenset({"any", "", "*"})
_RATES = ("fp32", "bf16", "int8", "fp8", "fp4")


@cache
def models() -> tuple[ModelFacts, ...]:
    """Every model of the catalog, in the order of its file."""
    return tuple(_model(row) for row in table("models"))


@cache
def hardware() -> tuple[Accelerator, ...]:
    """Every accelerator of the catalog, in the order of its file."""
    return tuple(_accelerator(row) for row in table("hardware"))


def find_model(name: str) -> ModelFacts:
    """The model that a name means: `llama-3-70b`, `meta-llama/Meta-Llama-3.1-70B-Instruct`, `llama2-70b-99`.

    Raises:
        AgentError: `unknown_model` with the nearest names and how to give a model's facts.
    """
    index = _model_index()
    for form in _forms(name):
        if form in index:
            return index[form]
    near = ", ".join(dict.fromkeys(index[form].name for form in _nearest(_forms(name)[-1], list(index))))
    raise AgentError(
        ErrorCode.UNKNOWN_MODEL,
        f"no model named {name[:80]!r} is known"
        + (f"; near: {near}" if near else "")
        + "; or put a folder with its config.json or its GGUF file under a model root and name that",
    )


def find_hardware(text: str | Sequence[str]) -> tuple[Pool, ...]:
    """The pools that a constraint means: `4xA100-80GB`, `any`, or a list of those. `any` offers a full node of each.

    Raises:
        AgentError: `unknown_hardware` with the nearest names.
    """
    parts = [text] if isinstance(text, str) else list(text)
    pools = [pool for part in parts for pool in _pools(part)]
    unique = {(pool.accelerator.key, pool.count): pool for pool in pools}
    return tuple(unique.values())


def accelerator_from_host(host: HostFacts) -> Accelerator:
    """The probed machine as an accelerator with the key `host`: measured bandwidth and arithmetic, all threads."""
    gflops = max(host.gflops.values())
    return Accelerator(
        key="host",
        name=host.cpu,
        vendor="host",
        kind=AcceleratorKind.CPU,
        memory_gb=host.memory_free_bytes / 1e9,
        bandwidth_gbs=max(host.bandwidth_gbs.values()),
        # VNNI and its kin give up to four times the FP32 rate; without them INT8 kernels reach about twice of it.
        tflops={"fp32": gflops / 1e3, "int8": gflops / 1e3 * (4.0 if _has_dot_products(host.isa) else 2.0)},
        features=(*host.isa, *_kernels(host.isa), f"cores={host.cores}"),
        evidence=Evidence.MEASURED,
        source="probed on this host",
    )


def _kernels(isa: Iterable[str]) -> tuple[str, ...]:
    """What engines' documentation calls the instruction sets of a processor (`support.csv`)."""
    names = {"avx512f": "avx512", "amx_int8": "amx", "amx_bf16": "amx", "asimd": "neon"}
    return tuple(dict.fromkeys(names[flag] for flag in isa if flag in names))


def _has_dot_products(isa: Iterable[str]) -> bool:
    return any(name in {"avx512_vnni", "avx_vnni", "vnni", "asimddp", "i8mm", "amx_int8"} for name in isa)


def _pools(part: str) -> tuple[Pool, ...]:
    if part.strip().lower() in _ANY:
        return tuple(Pool(accelerator=item, count=item.per_node) for item in hardware())
    index = _hardware_index()
    count, name = 1, _plain(part[:128])
    for shape in (_COUNT_FIRST, _COUNT_LAST):
        match = shape.fullmatch(part[:128])
        if name not in index and match and _plain(match["name"]) in index:
            count, name = int(match["count"]), _plain(match["name"])
    if name not in index or count < 1:
        name = re.sub(r"^\d{1,4}x", "", name)
        near = ", ".join(dict.fromkeys(item.key for form in _nearest(name, list(index)) for item in index[form]))
        raise AgentError(
            ErrorCode.UNKNOWN_HARDWARE,
            f"no hardware named {part[:80]!r} is known; near: {near or 'none'}; "
            "write for example 4xA100-80GB, host or any",
        )
    return tuple(Pool(accelerator=item, count=count) for item in index[name])


def _nearest(form: str, known: list[str]) -> list[str]:
    return get_close_matches(form, known, n=4, cutoff=0.5)


def _plain(text: str) -> str:
    name = re.sub(r"[^a-z0-9+.]", "", text.lower())
    return re.sub(r"^(nvidia|amd|intel|aws|google|geforce|tesla)+", "", name) or name


def _forms(name: str) -> list[str]:
    """Spellings of a model's name from the most to the least specific, without punctuation."""
    tail = name[:256].strip().rstrip("/").rsplit("/", 1)[-1].lower()
    parts = [part for part in re.split(r"[-_\s]+", tail) if part]
    kept = [part for part in parts if part not in _TUNED | _STORED | _LAID_OUT]
    undated = [part for part in kept if not re.fullmatch(r"v0\.\d|\d{4}|q\d\w*|iq\d\w*|k|m|s", part)]
    sized = [re.sub(r"^(\d+)(\.0)?b$", r"\1b", part) for part in undated]
    return list(dict.fromkeys("".join(form) for form in (parts, kept, undated, sized)))


@cache
def _model_index() -> dict[str, ModelFacts]:
    index: dict[str, ModelFacts] = {}
    for model in models():
        for name in (model.name, *model.aliases):
            for form in _forms(name)[:2]:
                index.setdefault(form, model)
    return index


@cache
def _hardware_index() -> dict[str, tuple[Accelerator, ...]]:
    """Accelerators by every spelling. A key means one; a looser name that several share (SXM, PCIe) means them all."""
    exact = {_plain(name): (item,) for item in hardware() for name in (item.key, item.name)}
    loose: dict[str, tuple[Accelerator, ...]] = {}
    for item in hardware():
        for form in dict.fromkeys(_plain(alias) for alias in item.aliases):
            loose[form] = (*loose.get(form, ()), item)
    return {**loose, **exact}


def _numbers(cell: str) -> list[int]:
    return [int(part) for part in cell.split("/")]


def _model(row: dict[str, str]) -> ModelFacts:
    experts = (
        dict(
            zip(
                ("count", "active", "intermediate", "shared", "shared_intermediate", "dense_layers"),
                _numbers(row["experts"]),
                strict=True,
            )
        )
        if row["experts"]
        else None
    )
    window, windowed = _numbers(row["sliding"]) if row["sliding"] else (None, 0)
    heads, kv_heads = int(row["heads"]), int(row["kv_heads"])
    latent = LatentAttention(**dict(zip(_LATENT, _numbers(row["latent"]), strict=True))) if row["latent"] else None
    return counted(
        ModelFacts(
            name=row["name"],
            family=row["family"],
            aliases=words(row["aliases"]),
            layers=int(row["layers"]),
            hidden=int(row["hidden"]),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=int(row["head_dim"]),
            intermediate=int(row["intermediate"]),
            vocab=int(row["vocab"]),
            context=int(row["context"]),
            attention=attention_of(heads, kv_heads, latent),
            gated_mlp=row["gated"] == "1",
            tied_embeddings=row["tied"] == "1",
            experts=Experts(**experts) if experts else None,
            latent=latent,
            sliding_window=window,
            sliding_layers=windowed or 0,
            parameters=1,
            active_parameters=1,
            native_format=row["native"],
            source=row["source"],
        )
    )


def _accelerator(row: dict[str, str]) -> Accelerator:
    return Accelerator(
        key=row["key"],
        name=row["name"],
        vendor=row["vendor"],
        kind=AcceleratorKind(row["kind"]),
        memory_gb=float(row["memory_gb"]),
        bandwidth_gbs=float(row["bandwidth_gbs"]),
        tflops={rate: float(row[rate]) for rate in _RATES if row[rate]},
        link_gbs=float(row["link_gbs"]),
        internode_gbs=float(row["internode_gbs"]),
        per_node=int(row["per_node"]),
        power_w=float(row["power_w"]),
        aliases=words(row["aliases"]),
        features=words(row["features"]),
        source=row["source"],
    )
