"""Mutated messages against codec, envelope and command validation; nothing may raise.

Usage: python benchmarks/fuzz.py [PAYLOADS] [SEED].
"""

import gzip
import random
import sys
from collections import Counter
from time import perf_counter

from acp.envelope import Kind, classify
from acp.intake import validated
from handlers.registry import discover
from schemas.error import AgentError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OPTIMIZE = (
    b'{"cmd":"OPTIMIZE_INFERENCE","model":"llama-3-70b","current_perf":{"latency_p95":2500,"throughput":10},'
    b'"targets":{"latency_p95":"500ms","throughput":"0.05k_rps"},"constraints":{"max_quality_loss":"2%",'
    b'"hardware":"4xA100-80GB","budget_monthly":"$5000"},"respond_format":"OPTIMIZATION_PLAN"}'
)
SEEDS = (
    OPTIMIZE,
    OPTIMIZE.replace(b"OPTIMIZE_INFERENCE", b"COST_ANALYSIS"),
    b'{"cmd":"PING"}',
    b'{"cmd":"HANDOFF","from_agent":"a","to_agent":"b","context":{"model":"m"},"deliverables_expected":["x"]}',
    b'{"cmd":"LIST_JOBS","limit":5,"state":"running"}',
    b'{"ai_status":{"models_online":3,"avg_response":"120ms"},"optimization":["x"],"hash":"ai_prod_2024"}',
)
TOKENS = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u0000", b"\\ud800", b"null", b"1e999", b"-0", b"NaN")
TOKENS += (b'"cmd"', b'"hash"', b"\xff", b"\x00", b"99999999999999999999", b"1e-400", b'{"":' * 40, b"[" * 40, b"$%_ms")


def mutate(rng: random.Random) -> bytes:
    """One of the seeds with a few pieces cut, doubled or put in."""
    body = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice((1, 1, 1, 2, 6))):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(4):
            case 0:
                body[at:at] = rng.choice(TOKENS)
            case 1:
                del body[at : at + rng.randint(1, 12)]
            case 2:
                body[at : at + 1] = bytes([rng.randrange(256)])
            case _:
                body[at:at] = body[: rng.randint(0, 40)]
    return bytes(body)


def packed(rng: random.Random, body: bytes) -> tuple[bytes, str | None]:
    """Now and then packed, and now and then damaged after that or said to be what it is not."""
    encoding = rng.choice((None,) * 16 + ("gzip", "zstd", "zstd", "br"))
    packers = {"gzip": gzip.compress, "zstd": zstd.compress}
    if encoding not in packers or rng.randrange(8) == 0:
        return body, encoding
    body = packers[encoding](body)
    at = rng.randrange(len(body))
    return (body if rng.randrange(2) else body[:at] + rng.randbytes(1) + body[at + 1 :]), encoding


def main() -> None:
    """Print the counts; any exception but the typed ones ends the run."""
    payloads = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: S311 - no secret
    handlers = discover()
    counts: Counter[str] = Counter()
    started = perf_counter()
    for _ in range(payloads):
        body, encoding = packed(rng, mutate(rng))
        envelope = classify(body, encoding)
        counts[envelope.error or envelope.kind] += 1
        handler = handlers.get(envelope.cmd or "") if envelope.kind is Kind.COMMAND else None
        if handler is not None:
            try:
                validated(handler.command, envelope)
                counts["valid command"] += 1
            except AgentError as error:
                counts[error.code] += 1
    print(f"{payloads} payloads in {perf_counter() - started:.1f} s, no crash: {dict(counts)}")


if __name__ == "__main__":
    main()
