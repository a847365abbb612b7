"""Stress: an SLA in, a rate that rises until it breaks, and the knee between what held and what did not out."""

from collections.abc import Sequence

from executors.measure.load import More
from schemas.measurement import Arrivals, Knee, LevelSpec, LoadLevel, Sla

FIRST_RPS = 0.5
STEP = 1.25
MOST = 16
"""Levels after which the test gives up: the rate is 35 times the first one by then."""
ATTAINED = 0.95
"""Share of requests that must keep to the SLA: it is what a 95th percentile asks."""


def rising(sla: Sla, requests: int, limit_s: float) -> More:
    """Poisson levels after those there were, each `STEP` times the one before, until one breaks `sla`."""

    def more(levels: Sequence[LoadLevel]) -> LevelSpec | None:
        tried = [level for level in levels if level.arrivals is Arrivals.POISSON]
        if tried and (broken(tried[-1], sla) or len(tried) == MOST):
            return None
        rate = tried[-1].setting * STEP if tried else FIRST_RPS
        return LevelSpec(arrivals=Arrivals.POISSON, setting=rate, requests=requests, limit_s=limit_s)

    return more


def broken(level: LoadLevel, sla: Sla) -> str:
    """What of `sla` a level broke, in words; empty where it held."""
    if level.failed:
        return f"{level.failed} of {level.requests} requests failed or timed out"
    attained = level.attained or 0.0
    if attained >= ATTAINED:
        return ""
    figures = (
        ("TTFT", sla.ttft_ms, level.ttft),
        ("TPOT", sla.tpot_ms, level.tpot),
        ("latency", sla.latency_ms, level.latency),
    )
    worse = [
        f"{name} p95 of {found.p95.value:.0f} ms against {limit:g} ms"
        for name, limit, found in figures
        if limit is not None and found is not None and found.p95.value > limit
    ]
    return ", ".join(worse) or f"only {attained:.0%} of {level.requests} requests kept to all of it"


def knee_of(levels: Sequence[LoadLevel], sla: Sla) -> Knee:
    """The last rate that held, the first that did not, and why."""
    tried = [level for level in levels if level.arrivals is Arrivals.POISSON]
    why = broken(tried[-1], sla)
    held = [level.setting for level in tried if not broken(level, sla)]
    return Knee(held=held[-1] if held else None, broke=tried[-1].setting if why else None, why=why or "nothing broke")
