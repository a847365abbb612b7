"""Engine, weight format, accelerator in, whether that can run out; every rule is a data row with its source."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

from planners.performance.formats import formats
from planners.tables import table, words
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator
from schemas.model import ModelFacts

_SPELLINGS = {
    "trt-llm": "tensorrt-llm",
    "tensorrt_llm": "tensorrt-llm",
    "trtllm": "tensorrt-llm",
    "tensorrt": "tensorrt-llm",
    "llamacpp": "llama.cpp",
    "llama-cpp": "llama.cpp",
    "text-generation-inference": "tgi",
    "onnx": "onnxruntime",
    "onnxruntime-genai": "onnxruntime",
    "openvino-genai": "openvino",
    "ort": "onnxruntime",
    "ct2": "ctranslate2",
}
RETIRED = {"fastertransformer": "tensorrt-llm", "faster-transformer": "tensorrt-llm"}
"""Engines that their makers ended, with the successor they name (FasterTransformer README, 2023)."""

BUILT_AHEAD = frozenset({"W8A8", "GPTQ-INT4"})
"""Formats that TensorRT-LLM runs from engines built ahead; the others it loads as they are."""

SIXTEEN = 16

HOST_ENGINES = ("llama.cpp",)
"""What is tried on the probed host unless the request names engines or others are ready: it needs the least."""


@dataclass(frozen=True)
class Engine:
    """What an engine lets a plan choose."""

    name: str
    version: str
    kv_formats: tuple[str, ...]
    fp8_kv_needs: frozenset[str]
    int8_kv_needs: frozenset[str]
    sparse_needs: frozenset[str]
    """Features of which a device has any where the engine attends to selected tokens alone (DeepSeek-V3.2)."""
    kept: bool
    """Whether its makers go on with it; else it is planned only where it is named."""
    joins: bool
    """Whether a request joins those that run; else it waits until their batch has ended."""
    max_tp: int
    pipeline: bool
    batched_tokens: tuple[int, ...]
    chunked: tuple[bool, ...]
    speculation: tuple[str, ...]
    scheduling: tuple[str, ...]
    families: tuple[str, ...]

    def serves(self, model: ModelFacts) -> bool:
        """Whether the engine implements the model's architecture."""
        return self.families == ("all",) or model.family in self.families

    def attends(self, model: ModelFacts, accelerator: Accelerator) -> bool:
        """Whether the engine has kernels there for the model's attention."""
        selects = model.latent is not None and model.latent.selected > 0
        return not selects or bool(self.sparse_needs & set(accelerator.features))


@dataclass(frozen=True)
class Rule:
    """One row of the matrix: `engine` runs `weight_format` where the device has any of `needs`."""

    engine: str
    weight_format: str
    needs: frozenset[str]
    why: str
    kv: tuple[str, ...]
    """KV formats, where not all of the engine's."""
    ahead: tuple[str, ...]
    """Ways to guess tokens that go with these weights."""

    def runs_on(self, accelerator: Accelerator) -> bool:
        """Whether this accelerator has what the kernels need."""
        return bool(self.needs & set(accelerator.features))

    def kv_formats_on(self, accelerator: Accelerator, model: ModelFacts) -> tuple[str, ...]:
        """KV formats that can be kept there: 8-bit integers only where 8-bit floats cannot, and for no latent cache."""
        engine, has = engines()[self.engine], set(accelerator.features)
        able = {
            "FP8": bool(engine.fp8_kv_needs & has),
            "INT8": bool(engine.int8_kv_needs & has) and model.latent is None,
        }
        kept = tuple(name for name in self.kv or engine.kv_formats if able.get(name, True))
        return tuple(name for name in kept if name != "INT8" or "FP8" not in kept)


@cache
def engines() -> dict[str, Engine]:
    """Every engine by name."""
    versions = {row["engine"]: row["version"] for row in table("support")}
    return {
        row["engine"]: Engine(
            name=row["engine"],
            version=versions[row["engine"]],
            kv_formats=words(row["kv_formats"]),
            fp8_kv_needs=frozenset(words(row["fp8_kv_needs"])),
            int8_kv_needs=frozenset(words(row["int8_kv_needs"])),
            sparse_needs=frozenset(words(row["sparse_needs"])),
            kept=row["kept"] == "1",
            joins=row["joins"] == "1",
            max_tp=int(row["max_tp"]),
            pipeline=row["pipeline"] == "1",
            batched_tokens=tuple(int(part) for part in words(row["batched_tokens"])),
            chunked=tuple(part == "1" for part in words(row["chunked"])),
            speculation=words(row["speculation"]),
            scheduling=words(row["scheduling"]),
            families=words(row["families"]),
        )
        for row in table("engines")
    }


@cache
def rules() -> tuple[Rule, ...]:
    """Every engine × weight format, in the order of the file."""  # noqa: RUF002 - the sign reads best
    return tuple(
        Rule(
            engine=row["engine"],
            weight_format=name,
            needs=frozenset(words(row["needs"])),
            why=row["why"],
            kv=words(row["kv"]),
            ahead=words(row["speculation"]) or engines()[row["engine"]].speculation,
        )
        for row in table("support")
        for name in words(row["formats"])
    )


def alike(name: str, other: str) -> bool:
    """Whether two weight formats need the same kernels: 16 bits by any name, any of llama.cpp's own types."""
    return name == other or _kind(name) == _kind(other)


def refusal(engine: str, weight_format: str, accelerator: Accelerator) -> str | None:
    """Why `engine` does not run `weight_format` there; None where it does."""
    found = [rule for rule in rules() if rule.engine == engine and alike(rule.weight_format, weight_format)]
    if any(rule.runs_on(accelerator) for rule in found):
        return None
    if found:
        return f"{engine} {engines()[engine].version} does not run {weight_format} here: {found[0].why}"
    known = dict.fromkeys(rule.weight_format for rule in rules() if rule.engine == engine)
    return f"{engine} does not load {weight_format} weights; it loads {', '.join(known)}"


def _kind(name: str) -> str:
    known = formats().get(name)
    if known is None or known.bits == SIXTEEN:
        return str(SIXTEEN) if known else name
    return "gguf" if known.group.startswith("gguf") else name


def wanted_engines(
    names: Sequence[str], *, host: bool, ready: Collection[str] = HOST_ENGINES
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The engines to consider, and a sentence for each name that stood for another or for what its makers leave.

    Where nobody names any, these are those `ready` on the probed host, elsewhere all that their makers go on with.

    Raises:
        AgentError: `unsupported` where a name is not an engine's.
    """
    if not names:
        return tuple(name for name, engine in engines().items() if (name in ready if host else engine.kept)), ()
    found, notes = [], []
    for raw in names:
        plain = raw.strip().lower().replace(" ", "")
        name = _SPELLINGS.get(plain, plain)
        if name in RETIRED:
            notes.append(f"{raw[:40]} is retired; its successor {RETIRED[name]} is planned instead")
            name = RETIRED[name]
        if name not in engines():
            raise AgentError(
                ErrorCode.UNSUPPORTED, f"no engine named {raw[:40]!r} is known; known are {', '.join(engines())}"
            )
        if not engines()[name].kept:
            notes.append(f"{name} is only maintained: its makers recommend vLLM, SGLang or llama.cpp for what is new")
        found.append(name)
    return tuple(dict.fromkeys(found)), tuple(notes)
