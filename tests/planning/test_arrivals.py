"""The simulation of arrivals: deterministic, conserving, and queueing as theory says."""

import pytest

from planners.arrivals import Request, Server, closed, poisson, simulate

SERVER = Server(sequences=64, tokens=2048, cache_tokens=1e6)


def prefill(tokens: float) -> float:
    """Twenty thousand prompt tokens a second."""
    return tokens * 5e-5


def decode(sequences: float, context: float) -> float:
    """Ten milliseconds and a little for each sequence and its context."""
    return 0.010 + sequences * 1e-4 + sequences * context * 1e-8


def test_a_lone_request_takes_its_prompt_and_its_steps() -> None:
    """Nothing to wait for: TTFT is the prompt, TPOT a step."""
    found = simulate(SERVER, prefill, decode, [Request(0.0, 1000, 101)], warmup=0.0)
    assert found.ttft.p50 == pytest.approx(50.0)
    assert found.tpot.p50 == pytest.approx(10.1, rel=0.02)


def test_the_same_seed_gives_the_same_percentiles() -> None:
    """Two runs agree to the last digit."""
    requests = poisson(5, 200, 500, 100, seed=7)
    assert simulate(SERVER, prefill, decode, requests) == simulate(SERVER, prefill, decode, requests)


def test_load_lengthens_the_tail() -> None:
    """Nearer to capacity every percentile grows, and the 99th more than the median."""
    calm, busy = (simulate(SERVER, prefill, decode, poisson(rate, 300, 500, 100, seed=3)) for rate in (2, 14))
    assert busy.ttft.p50 > calm.ttft.p50
    assert busy.ttft.p99 / calm.ttft.p99 > busy.ttft.p50 / calm.ttft.p50


def test_a_small_cache_makes_requests_wait() -> None:
    """Room for four requests of sixteen: the others queue."""
    tight = Server(sequences=64, tokens=2048, cache_tokens=4 * 600)
    burst = closed(16, 64, 500, 100)
    free = simulate(SERVER, prefill, decode, burst, open_requests=16)
    held = simulate(tight, prefill, decode, burst, open_requests=16)
    assert held.ttft.p50 > 5 * free.ttft.p50
    assert held.tpot.p50 < free.tpot.p50


def test_chunking_spares_the_running_sequences() -> None:
    """A long prompt in chunks holds the others up less than one read whole."""
    requests = [Request(0.0, 10, 200), *(Request(0.1 * i, 8000, 2) for i in range(1, 6))]
    chunked = simulate(Server(64, 512, 1e6), prefill, decode, requests, warmup=0.0)
    whole = simulate(Server(64, 512, 1e6, chunked=False), prefill, decode, requests, warmup=0.0)
    assert chunked.tpot.p50 <= whole.tpot.p50


def test_a_batch_that_nobody_joins_is_waited_for() -> None:
    """Who comes while one runs begins when it ends; who finds the engine idle begins at once."""
    alone = Server(sequences=64, tokens=2048, cache_tokens=1e6, joins=False)
    requests = [Request(0.0, 100, 101), Request(0.2, 100, 101)]
    together = simulate(SERVER, prefill, decode, requests, warmup=0.0)
    apart = simulate(alone, prefill, decode, requests, warmup=0.0)
    assert apart.ttft.p99 > 500 > together.ttft.p99
    assert simulate(alone, prefill, decode, requests[:1], warmup=0.0).ttft.p99 == pytest.approx(5.0)


def test_every_token_is_served_once() -> None:
    """Tokens a second times seconds is the number of tokens asked for."""
    requests = poisson(10, 150, 300, 80, seed=1, varied=0.5)
    found = simulate(SERVER, prefill, decode, requests)
    assert found.output_tok_s * found.served_s == pytest.approx(sum(request.answer for request in requests))


def test_a_request_beyond_the_cache_is_refused() -> None:
    """What can never run is an error, not an endless wait."""
    with pytest.raises(ValueError, match="cache"):
        simulate(Server(4, 512, 100), prefill, decode, [Request(0.0, 500, 10)])
