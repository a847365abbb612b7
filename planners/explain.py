"""A search and a choice in, the sentences of the plan out: verdict, what was ruled out, what binds, what more buys."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planners.candidates import Searched, strategy_at
from planners.choose import score
from planners.figures import shown
from planners.judge import Limit
from schemas.plan import Candidate, Relaxation, RuledOut, Sensitivity
from schemas.text import counted

_STEP = 1.25
_MORE_LOSS = 2.0
_WORTH = 0.03
_Bools = NDArray[np.bool_]


def ruled_out_of(searched: Searched, chosen: tuple[int, ...]) -> tuple[RuledOut, ...]:
    """Candidates by the first reason they fell for, most frequent first."""
    space, judged = searched.space, searched.judged
    left = np.ones(judged.runs.shape, dtype=np.bool_)
    found = [RuledOut(reason=item.reason, count=item.count, example=item.example) for item in space.refused]
    reasons: list[tuple[str, _Bools]] = [
        ("does not fit into memory", ~searched.served.footprint.fits),
        ("cannot keep up with the arrivals", ~judged.runs),
    ]
    for limit in judged.limits:
        asked = shown(limit.asked, limit.unit)
        reasons.append((f"{limit.name}: its whole interval misses {asked}", ~limit.possible))
        reasons.append((f"{limit.name} is predicted beyond {asked}", ~limit.met))
    for reason, fell in reasons:
        here = left & fell
        if here.any():
            example = strategy_at(searched, int(np.argmax(here))).label
            found.append(RuledOut(reason=reason, count=int(here.sum()), example=example))
        left &= ~fell
    count = int(left.sum()) - sum(bool(left.ravel()[flat]) for flat in chosen)
    if count > 0:
        left.ravel()[list(chosen)] = False
        example = strategy_at(searched, int(np.argmax(left))).label
        found.append(RuledOut(reason="meets every limit, but another serves better", count=count, example=example))
    return tuple(sorted(found, key=lambda item: (-item.count, item.reason)))


def binding_of(searched: Searched, relaxations: tuple[Relaxation, ...]) -> tuple[str, ...]:
    """The limits of an infeasible search that bind: each that alone would do, or all that no candidate meets."""
    named = tuple(item.limit for item in relaxations if item.limit != "hardware")
    if named:
        return named
    if not searched.served.footprint.fits.any():
        return ("memory",)
    if not searched.judged.runs.any():
        return ("throughput",)
    missed = [limit.name for limit in searched.judged.limits if not (searched.judged.runs & limit.met).any()]
    return tuple(missed) or tuple(limit.name for limit in searched.judged.limits)


def sensitivity_of(searched: Searched, chosen: int) -> tuple[Sensitivity, ...]:
    """What a step of each limit buys over the choice, by no more guesses than it makes; none that buys nothing."""
    found = []
    ways = searched.space.speculation
    plain = (ways <= ways[chosen // searched.space.batches.size])[:, None]
    for limit in searched.judged.limits:
        loosened = _loosened(limit)
        judged = replace(
            searched.judged, limits=tuple(loosened if one is limit else one for one in searched.judged.limits)
        )
        scores = np.where(judged.met & plain, score(searched.space, judged, searched.traffic), np.inf)
        best = int(np.argmin(scores))
        if gain := _gain(searched, chosen, best):
            step = f"{limit.name} {shown(limit.asked, limit.unit)} to {shown(loosened.asked, limit.unit)}"
            found.append(Sensitivity(limit=limit.name, step=step, gain=gain))
    found += [more for more in (_more_money(searched, chosen), _guessing(searched, chosen)) if more]
    return tuple(found)


def _guessing(searched: Searched, chosen: int) -> Sensitivity | None:
    """What guessing tokens ahead would gain in the very same layout, where the choice does not."""
    space, judged = searched.space, searched.judged
    cell, column = divmod(chosen, space.batches.size)
    if space.speculation[cell]:
        return None
    same = space.speculation > 0
    for kept in ("group", "tp", "pp", "replicas", "batched_tokens", "prefix"):
        same &= getattr(space, kept) == getattr(space, kept)[cell]
    allowed = judged.met & same[:, None]
    allowed &= np.arange(space.batches.size) == column
    if not allowed.any():
        return None
    best = int(np.argmin(np.where(allowed, judged.latency.latency_p95, np.inf)))
    way = space.ahead[int(space.speculation[best // space.batches.size])]
    gain = _gain(searched, chosen, best)
    guesses = f"guessing {counted(way.guesses, 'token')} ahead ({way.method})"
    step = f"{guesses}, if the assumed {way.acceptance:.0%} of them hold"
    return Sensitivity(limit="speculation", step=step, gain=gain) if gain else None


def _loosened(limit: Limit) -> Limit:
    factor = _MORE_LOSS if limit.name == "max_quality_loss" else _STEP
    return replace(limit, asked=limit.asked / factor if limit.at_least else limit.asked * factor)


def _gain(searched: Searched, chosen: int, other: int) -> str:
    """What `other` does better than `chosen`, or nothing where that is not worth a sentence."""
    if other == chosen:
        return ""
    latency = searched.judged.latency
    parts = []
    money = [
        float(np.nan_to_num(searched.judged.monthly[flat // searched.space.batches.size, 0]))
        for flat in (chosen, other)
    ]
    if money[1] < money[0] * (1 - _WORTH):
        parts.append(f"saves ${money[0] - money[1]:,.0f} a month")
    p95 = [float(latency.latency_p95.ravel()[flat]) for flat in (chosen, other)]
    if p95[1] < p95[0] * (1 - _WORTH):
        parts.append(f"p95 latency {p95[0]:,.0f} to {p95[1]:,.0f} ms")
    rate = [float(latency.capacity.ravel()[flat]) for flat in (chosen, other)]
    if rate[1] > rate[0] * (1 + _WORTH):
        parts.append(f"throughput {rate[0]:.3g} to {rate[1]:.3g} requests/s")
    if not parts:
        return ""
    return f"{', '.join(parts)} ({strategy_at(searched, other).label})"


def _more_money(searched: Searched, chosen: int) -> Sensitivity | None:
    """The cheapest candidate within all limits that answers at least a fifth faster."""
    judged, columns = searched.judged, searched.space.batches.size
    money = np.broadcast_to(np.nan_to_num(judged.monthly, nan=np.inf), judged.runs.shape)
    now, latency = float(money.ravel()[chosen]), judged.latency.latency_p95
    others = tuple(limit for limit in judged.limits if limit.name != "budget_monthly")
    faster = replace(judged, limits=others).met & (latency <= 0.8 * latency.ravel()[chosen]) & (money > now)
    faster &= (searched.space.speculation <= searched.space.speculation[chosen // columns])[:, None]
    if not faster.any() or not np.isfinite(now):
        return None
    best = int(np.argmin(np.where(faster, money, np.inf)))
    extra = float(money[best // columns, 0]) - now
    if not np.isfinite(extra):
        return None
    gain = _gain(searched, chosen, best)
    return Sensitivity(limit="budget_monthly", step=f"${extra:,.0f} more a month", gain=gain)


def verdict_of(
    searched: Searched, chosen: tuple[Candidate, ...], relaxations: tuple[Relaxation, ...], *, certain: bool
) -> str:
    """One sentence: what to do, or which limit binds and what would do."""
    if not chosen:
        return _refusal(searched, relaxations)
    first = chosen[0]
    guess = first.prediction
    figures = (
        f"p95 latency {guess.latency_p95_ms.value:,.0f} ms, {guess.throughput_rps.value:.3g} requests/s, "
        f"quality loss {guess.quality_loss.value:.2%}"
    )
    money = f", ${guess.cost_monthly_usd.value:,.0f} a month" if guess.cost_monthly_usd else ""
    doubt = "" if certain else "; only a measurement can tell, as its interval straddles a limit"
    return f"Serve {searched.model.name} with {first.strategy.label}: {figures}{money} predicted{doubt}."


def _refusal(searched: Searched, relaxations: tuple[Relaxation, ...]) -> str:
    name = searched.model.name
    if relaxations:
        told = [
            (f"{item.limit} {shown(item.needed, item.unit)} (asked {shown(item.asked, item.unit)})", item.jointly)
            for item in relaxations
        ]
        together = " and ".join(text for text, jointly in told if jointly)
        ways = "; or ".join([*([together] if together else []), *(text for text, jointly in told if not jointly)])
        return f"No plan serves {name} within every limit; nearest that would: {ways}."
    binding = ", ".join(binding_of(searched, relaxations))
    return f"No plan serves {name} within every limit, and no single limit relaxed is enough; in the way: {binding}."
