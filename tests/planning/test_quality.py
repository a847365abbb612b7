"""What quantization costs: ordered by bits and size, near published figures, never a promise where nothing is known."""

import pytest

from planners.catalog import find_model, models
from planners.methods import method_of
from planners.performance.formats import weight_format
from planners.quality import build_of, loss
from planners.tables import table, words


def test_fewer_bits_cost_more() -> None:
    """Along the GGUF types the loss only grows."""
    model = find_model("llama-3.1-8b")
    found = [loss(model, name).value for name in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")]
    assert found == sorted(found)
    assert found[0] == 0.0


def test_larger_models_lose_less() -> None:
    """The same format costs a 70B model less than an 8B of its family."""
    small, large = (loss(find_model(name), "AWQ-INT4").value for name in ("llama-3.1-8b", "llama-3.1-70b"))
    assert large < small


def test_an_importance_matrix_helps() -> None:
    """It lowers the expected loss of the same type."""
    model = find_model("smollm2-135m")
    assert loss(model, "Q4_0", importance_matrix=True).value < loss(model, "Q4_0").value


@pytest.mark.parametrize(
    ("model", "name", "published"),
    [("llama-3-8b", "Q4_K_M", 0.0282), ("llama-2-7b", "Q4_K_M", 0.0142), ("llama-3-8b", "Q6_K", 0.0035)],
)
def test_published_losses_lie_within_the_interval(model: str, name: str, published: float) -> None:
    """llama.cpp's own table, relative rise of perplexity."""
    found = loss(find_model(model), name)
    assert found.low <= published <= found.high


def test_methods_are_read_as_papers_write_them() -> None:
    """Scheme, group, activations, cache and importance matrix out of one cell."""
    assert method_of("GGUF q4_K_M imatrix(WT 10m)", 4.84).importance
    assert method_of("AWQ W4G128", 4).group == 128
    assert method_of("RTN W4G-1", 4).group == 0
    both = method_of("SpinQuant W4A4KV4", 4)
    assert (both.scheme, both.activation_bits, both.kv_bits) == ("spinquant", 4, 4)


def test_a_gguf_type_has_the_bits_it_stores() -> None:
    """Not those of its name, as some publications count them; other methods keep what is stated."""
    assert method_of("AutoRound+alg_ext q3_k_s", 3).bits == weight_format("Q3_K_S").bits
    assert method_of("opt-rtn (2bit)", 2).bits == weight_format("Q2_K_S").bits
    assert method_of("GGUF iq1_S imatrix(WT 10m)", 1.56).bits == 1.56
    assert method_of("AWQ W4G128", 4).bits == 4


def test_models_trained_on_more_tokens_lose_more() -> None:
    """Of two models of one size that differ in little else; where makers do not say, the fit's middle is taken."""
    llama_2, llama_3 = (find_model(name) for name in ("llama-2-7b", "llama-3-8b"))
    assert build_of(llama_2).tokens < build_of(llama_3).tokens
    assert loss(llama_2, "AWQ-INT4").value < loss(llama_3, "AWQ-INT4").value
    assert build_of(find_model("mistral-7b-v0.1")).tokens == 0


def test_training_facts_are_of_known_models() -> None:
    """Each model once, each row with its source."""
    named = [name for row in table("training") for name in words(row["models"])]
    assert len(named) == len(set(named))
    assert set(named) <= {model.name for model in models()}
    assert all(row["source"] for row in table("training"))


def test_llama_3_70b_suffers_from_one_scale_for_a_channel() -> None:
    """W8A8 with scales per channel costs it more than the 8B of its family; grouped 4-bit weights do not."""
    small, large = (find_model(name) for name in ("llama-3.1-8b", "llama-3.1-70b"))
    assert loss(large, "W8A8").value > loss(small, "W8A8").value
    assert loss(large, "GPTQ-INT4").value < loss(small, "GPTQ-INT4").value
