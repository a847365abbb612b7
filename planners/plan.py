"""The flow of the planner on one page: a request and facts in, a plan out; the same ones give the same to the byte."""

from collections import Counter

import numpy as np

from planners.baseline import baseline_of, bottleneck_of
from planners.candidates import Searched, candidate_at
from planners.choose import choose, frontier
from planners.explain import binding_of, ruled_out_of, sensitivity_of, verdict_of
from planners.finalists import with_simulation
from planners.launch import launch_of
from planners.left_out import left_out
from planners.performance.around import published
from planners.relax import relaxations_of
from planners.search import Facts, search
from planners.space import WIDE_POOLS
from planners.steps import handoffs_of, steps_of, undo_of
from schemas.command import Mode, OptimizeInference
from schemas.evidence import Evidence
from schemas.hardware import Pool
from schemas.plan import Assumption, Candidate, Launch, Plan, PlannedWorkload

__all__ = ["Facts", "plan"]


def plan(request: OptimizeInference, facts: Facts) -> Plan:
    """The best ways to serve the model within the request's limits, or what stands in the way.

    Raises:
        AgentError: `unsupported` where no engine can run the model there, `infeasible` where nothing can hold it.
    """
    searched, assumed = search(request, facts)
    choice = choose(searched.space, searched.judged, searched.traffic, host=facts.on_host)
    # On this host an interval that straddles a limit is settled by measuring; elsewhere only predictions count.
    trusted = choice.met or (choice.possible if facts.on_host else ())
    picked = (*choice.met, *choice.possible) if trusted else ()
    chosen = tuple(candidate_at(searched, flat) for flat in picked)
    baseline = baseline_of(request, searched, _same_hardware(facts.pools, chosen), facts.prices)
    chosen = (*(with_simulation(searched, candidate) for candidate in chosen[:1]), *chosen[1:])
    chosen = (*chosen[:1], *(one for one in chosen[1:] if _worth_trying(one, baseline, host=facts.on_host)))
    relaxations = () if chosen else relaxations_of(request, facts, searched)
    mode = request.mode or (Mode.RUN if facts.on_host else Mode.PLAN)
    limit = request.constraints.max_quality_loss
    launch = _launch(searched, chosen)
    return Plan(
        model=searched.model.name,
        mode=mode,
        hardware=_hardware(facts.pools),
        workload=_workload(searched, baseline, chosen),
        max_quality_loss=limit,
        feasible=bool(chosen),
        verdict=verdict_of(searched, chosen, relaxations, certain=bool(choice.met)),
        bottleneck=bottleneck_of(searched.model, searched.space, baseline, searched.traffic.tokens),
        baseline=baseline,
        chosen=chosen,
        frontier=tuple(candidate_at(searched, flat) for flat in frontier(searched.space, searched.judged)),
        considered=searched.space.size + sum(item.count for item in searched.space.refused),
        ruled_out=ruled_out_of(searched, picked),
        binding=() if chosen else binding_of(searched, relaxations),
        relaxations=relaxations,
        sensitivity=sensitivity_of(searched, picked[0]) if choice.met else (),
        assumptions=(*left_out(request), *assumed, *_assumptions(searched, facts)),
        steps=steps_of(mode, baseline, chosen, native=searched.model.native_format, host=facts.on_host),
        handoffs=handoffs_of(mode, chosen, limit, launch, host=facts.on_host),
        launch=launch,
        undo=undo_of(baseline, chosen),
        hash="inf_opt_v1" if chosen else "inf_opt_v0",
    )


def _worth_trying(candidate: Candidate, baseline: Candidate, *, host: bool) -> bool:
    """Whether an alternative is not what runs today, nor, where a trial costs a machine, no better in anything."""
    new, old = candidate.prediction, baseline.prediction
    if host or candidate.strategy == baseline.strategy:
        return candidate.strategy != baseline.strategy
    faster = new.latency_p95_ms.value < old.latency_p95_ms.value or new.throughput_rps.value > old.throughput_rps.value
    costs = (new.cost_monthly_usd, old.cost_monthly_usd)
    return faster or (costs[0] is not None and costs[1] is not None and costs[0].value < costs[1].value)


def _launch(searched: Searched, chosen: tuple[Candidate, ...]) -> Launch | None:
    if not chosen:
        return None
    first = chosen[0].strategy
    device = next(g.accelerator for g in searched.space.groups if g.accelerator.key == first.accelerator)
    return launch_of(first, searched.model, device)


def _hardware(pools: tuple[Pool, ...]) -> str:
    """The pools by name, or how many there are where that is more than a line."""
    if len(pools) > WIDE_POOLS:
        return f"any of {len(pools)} accelerators"
    return ", ".join(f"{pool.count}x{pool.accelerator.key}" for pool in pools)


def _same_hardware(pools: tuple[Pool, ...], chosen: tuple[Candidate, ...]) -> tuple[Pool, ...]:
    """The pools of the first choice's accelerator: the untouched model is compared on the same."""
    return tuple(pool for pool in pools if chosen and pool.accelerator.key == chosen[0].strategy.accelerator) or pools


def _workload(searched: Searched, baseline: Candidate, chosen: tuple[Candidate, ...]) -> PlannedWorkload:
    """The traffic as planned; with a rate, the requests present at once follow by Little's law."""
    traffic = searched.traffic
    latency_ms = (chosen[0] if chosen else baseline).prediction.latency_p50_ms.value
    present = round(traffic.rate * latency_ms / 1e3) if traffic.rate else traffic.concurrency
    return PlannedWorkload(
        input_tokens=traffic.input_tokens,
        output_tokens=traffic.output_tokens,
        request_rate=traffic.rate,
        concurrency=max(1, present),
        shared_prefix_tokens=traffic.shared_prefix_tokens,
        batch_job=traffic.batch_job,
    )


def _kernels(facts: Facts, searched: Searched) -> Assumption:
    """Whether figures could stand on measured kernels, and whether some do."""
    name, better = "measured kernels", "install inferwright[silicon]"
    if facts.on_host:
        return Assumption(name=name, value="none", why="this host is measured itself")
    if not facts.silicon:
        return Assumption(name=name, value="not installed", why=f"speeds are of the fitted model; {better} for data")
    if not searched.silicon:
        return Assumption(name=name, value="not asked", why="too many kinds of hardware at once: name fewer")
    evidence = np.concatenate([searched.served.step_evidence, searched.served.rate_evidence])
    known = int((evidence == Evidence.SILICON).sum())
    value = "aiconfigurator-core" if known else "none known"
    return Assumption(name=name, value=value, why="times per token and rates of some layouts" if known else "not these")


def _published(searched: Searched) -> Assumption:
    """Which engines were measured with a model of this shape on this hardware, so that predictions follow them."""
    found = published(searched.model, {group.accelerator.key for group in searched.space.groups})
    value = ", ".join(f"{engine} {count}" for engine, count in found.most_common()) or "none"
    why = "predictions near them follow them" if found else "those of other models and other hardware are the nearest"
    return Assumption(name="published figures of a model of this shape on this hardware", value=value, why=why)


def _assumptions(searched: Searched, facts: Facts) -> tuple[Assumption, ...]:
    """What every plan of this kind takes as given."""
    found = [
        Assumption(name="lengths", value="every request has the same", why="the request gives no distribution"),
        Assumption(
            name="intervals", value="90 %", why="spreads of predictions on measurements that they were not shown"
        ),
    ]
    if facts.on_host:
        found.append(Assumption(name="cost", value="none", why="this host is already paid for: no budget binds"))
        if facts.host and facts.host.load_average > facts.host.cores / 2:
            value = f"{facts.host.load_average:.1f} runnable processes"
            found.append(Assumption(name="load", value=value, why="the host is busy: speeds may be upper bounds"))
        if facts.host and facts.host.gpus:
            kinds = ", ".join(f"{count} x {name}" for name, count in Counter(facts.host.gpus).items())
            why = "engines are installed here for its processor alone; name the GPU as hardware to have it planned for"
            found.append(Assumption(name="GPUs of this host", value=f"{kinds}, left out", why=why))
    found += [_kernels(facts, searched), _published(searched)]
    names = [pool.accelerator.key for pool in facts.pools]
    if 1 < len(names) <= 3 and all(name.split("-")[0] == names[0].split("-")[0] for name in names):  # noqa: PLR2004
        found.append(Assumption(name="hardware", value=" or ".join(names), why="the name fits each; the best is taken"))
    if any(rent and rent.offer.evidence == "assumed" for rent in searched.judged.rents):
        found.append(Assumption(name="prices", value="some are assumed", why="no dated price is known for them"))
    return tuple(found)
