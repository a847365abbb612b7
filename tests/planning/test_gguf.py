"""GGUF headers become models' facts: dense, latent and windowed attention, experts, and what is no model."""

import struct
from pathlib import Path

import pytest

from executors.compress.gguf_header import read_header
from planners.catalog import find_model
from planners.gguf import model_from_gguf
from schemas.error import AgentError, ErrorCode
from schemas.gguf import GgufHeader
from schemas.model import ModelFacts


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _number(key: str, value: int) -> bytes:
    return _text(key) + struct.pack("<II", 4, value)


def gguf_header(*, tied: bool = True) -> bytes:
    """The start of a GGUF file shaped as SmolLM2-135M is."""
    sizes = {
        "block_count": 30,
        "embedding_length": 576,
        "feed_forward_length": 1536,
        "attention.head_count": 9,
        "attention.head_count_kv": 3,
        "context_length": 8192,
    }
    entries = [_text("general.architecture") + struct.pack("<I", 8) + _text("llama")]
    entries += [_number(f"llama.{key}", value) for key, value in sizes.items()]
    entries += [_number("general.file_type", 1)]
    tokens = b"".join(_text(str(number)) for number in range(49152))
    entries += [_text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 49152) + tokens]
    names = ["token_embd.weight", *([] if tied else ["output.weight"])]
    tensors = b"".join(_text(name) + struct.pack("<IQQIQ", 2, 576, 49152, 1, 0) for name in names)
    return b"GGUF" + struct.pack("<IQQ", 3, len(names), len(entries)) + b"".join(entries) + tensors


def from_bytes(folder: Path, content: bytes, name: str = "") -> ModelFacts:
    """The facts in a file of those bytes."""
    return model_from_gguf(read_header(_written(folder, content)), name)


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def test_a_gguf_header_gives_the_models_facts(tmp_path: Path) -> None:
    """Shape, vocabulary from the tokenizer, tied embeddings from the tensor list."""
    model = from_bytes(tmp_path, gguf_header(), "SmolLM2-135M")
    known = find_model("SmolLM2-135M")
    assert (model.parameters, model.vocab, model.native_format) == (known.parameters, 49152, "F16")
    assert not from_bytes(tmp_path, gguf_header(tied=False)).tied_embeddings


@pytest.mark.parametrize("cut", [24, 200, 500, 1000, 20_000])
def test_a_gguf_header_cut_short_is_unreadable(tmp_path: Path, cut: int) -> None:
    """A download that ended anywhere is told apart from a model."""
    with pytest.raises(AgentError) as error:
        from_bytes(tmp_path, gguf_header()[:cut])
    assert error.value.code is ErrorCode.UNREADABLE_MODEL


def header_of(architecture: str, **sizes: int | tuple[int, ...]) -> GgufHeader:
    """A header of those sizes; two underscores stand for a dot."""
    metadata = {f"{architecture}.{key.replace('__', '.')}": value for key, value in sizes.items()}
    return GgufHeader(
        metadata={"general.architecture": architecture, **metadata}, tensors=1, parameters=1, has_output=True
    )


DEEPSEEK = {
    "block_count": 61,
    "embedding_length": 7168,
    "feed_forward_length": 18432,
    "attention__head_count": 128,
    "attention__kv_lora_rank": 512,
    "attention__q_lora_rank": 1536,
    "rope__dimension_count": 64,
    "expert_count": 256,
    "expert_used_count": 8,
    "expert_shared_count": 1,
    "expert_feed_forward_length": 2048,
    "leading_dense_block_count": 3,
    "vocab_size": 129280,
}
OLD = {"attention__head_count_kv": 128, "attention__key_length": 192, "attention__value_length": 128}
NEW = {
    "attention__head_count_kv": 1,
    "attention__key_length": 576,
    "attention__value_length": 512,
    "attention__key_length_mla": 192,
    "attention__value_length_mla": 128,
}


@pytest.mark.parametrize("widths", [OLD, NEW])
def test_a_gguf_header_of_latents_and_experts_is_understood(widths: dict[str, int]) -> None:
    """DeepSeek-V3 as llama.cpp converts it, before and since its cache holds the latent: the catalog's own shape."""
    model, known = model_from_gguf(header_of("deepseek2", **DEEPSEEK, **widths)), find_model("DeepSeek-V3")
    assert (model.latent, model.experts, model.parameters) == (known.latent, known.experts, known.parameters)
    assert (model.attention, model.kv_heads, model.head_dim) == (known.attention, known.kv_heads, known.head_dim)


def test_a_gguf_header_tells_by_its_architecture_which_layers_keep_to_a_window() -> None:
    """Gemma-3-27B: five of six; a window of Mistral's spares no cache in llama.cpp; newer headers say it themselves."""
    sizes = {"block_count": 62, "embedding_length": 5376, "attention__head_count": 32, "attention__head_count_kv": 16}
    sizes |= {"attention__key_length": 128, "attention__sliding_window": 1024}
    gemma, other = (model_from_gguf(header_of(name, **sizes)) for name in ("gemma3", "llama"))
    known = find_model("gemma-3-27b")
    assert (gemma.sliding_window, gemma.sliding_layers) == (known.sliding_window, known.sliding_layers)
    assert (other.sliding_window, other.sliding_layers) == (None, 0)
    for pattern, windowed in (((1, 1, 1, 0), 46), (4, 47), (0, 62), (1, 0)):
        found = model_from_gguf(header_of("gemma4", **sizes, attention__sliding_window_pattern=pattern))
        assert found.sliding_layers == windowed


def test_sizes_by_layer_are_kept_and_the_largest_counts(tmp_path: Path) -> None:
    """An array of whole numbers as a file states it; a list of words is only as long as it is."""
    heads = _text("llama.attention.head_count_kv") + struct.pack("<IIQ30I", 9, 4, 30, *([3] * 29 + [1]))
    content = gguf_header().replace(_number("llama.attention.head_count_kv", 3), heads)
    header = read_header(_written(tmp_path, content))
    assert header.metadata["llama.attention.head_count_kv"] == (*[3] * 29, 1)
    assert header.metadata["tokenizer.ggml.tokens"] == 49152
    assert model_from_gguf(header).kv_heads == 3


@pytest.mark.parametrize("wrong", [{"block_count": 0}, {"attention__key_length": 32}])
def test_sizes_that_make_no_sense_are_unreadable(wrong: dict[str, int]) -> None:
    """No layers, or heads narrower than their rotary part."""
    with pytest.raises(AgentError, match="no usable") as error:
        model_from_gguf(header_of("deepseek2", **DEEPSEEK | OLD | wrong))
    assert error.value.code is ErrorCode.UNREADABLE_MODEL
