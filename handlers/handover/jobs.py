"""A finished run or a plan in, what its job leaves for operators out."""

from pathlib import Path

from handlers.handover.leave import FOLDER, GUIDE, RUNBOOK, leave
from handlers.handover.release import HOST, release_of
from handlers.optimization.verdict import arrivals, capacity, conditions
from schemas.command import OptimizeInference
from schemas.delegation import Peer
from schemas.handover import Expected
from schemas.measurement import LoadReport
from schemas.model import ModelFacts
from schemas.plan import Candidate, Plan, PlannedHandoff
from schemas.report import Report


def after_run(directory: Path, command: OptimizeInference, report: Report, model: ModelFacts) -> tuple[str, ...]:
    """The pages that a run leaves in its folder; none where the untouched model stays, or no server serves it."""
    best = report.best
    if best is None or best.artifact is None or best.gate is None or best.load is None:
        return ()
    release = release_of(
        command,
        best.candidate,
        model,
        job=report.job,
        version=report.hash,
        host=report.host,
        weights=best.artifact.path,
    )
    if release is None:
        return ()
    done = (f"{best.artifact.path} was made by {best.artifact.makers}.", best.gate.sentence, best.sentence)
    expected = _measured(best.load)
    leave(directory, release, gated=True, verdict=report.sentence, done=done, expected=expected, undo=report.undo)
    return GUIDE, RUNBOOK


def after_plan(
    directory: Path, command: OptimizeInference, model: ModelFacts, job: str, plan: Plan
) -> PlannedHandoff | None:
    """What a plan leaves that others must carry out, and the work for whoever runs the cluster.

    None where nothing would do, no server serves it, or all of it belongs on the agent's own machine.
    """
    if not plan.chosen or plan.chosen[0].strategy.accelerator == HOST:
        return None
    best = plan.chosen[0]
    release = release_of(command, best, model, job=job, version=plan.hash)
    if release is None:
        return None
    done = ("A plan was made; nothing was built, measured or judged.", *best.reasons)
    left = leave(
        directory, release, gated=False, verdict=plan.verdict, done=done, expected=_predicted(best), undo=plan.undo
    )
    names = tuple(f"{FOLDER}/kubernetes/{item.file}: {', '.join(item.names)}" for item in left.manifests)
    if not names:
        return None
    work = f"after the quality gate has passed the weights, apply the manifests of {release.slug}; {GUIDE} says how"
    return PlannedHandoff(peer=Peer.DEVOPS, work=work, deliverables=tuple(name[:256] for name in names))


def _measured(load: LoadReport) -> tuple[Expected, ...]:
    full, loaded = capacity(load), arrivals(load)
    figures = [Expected(metric="throughput", figure=full.throughput_rps, conditions=conditions(full, load))]
    for name, found in (("latency p95", loaded.latency), ("TTFT p95", loaded.ttft), ("TPOT p95", loaded.tpot)):
        if found is not None:
            figures.append(Expected(metric=name, figure=found.p95, conditions=conditions(loaded, load)))
    return tuple(figures)


def _predicted(best: Candidate) -> tuple[Expected, ...]:
    said = best.prediction
    figures = {
        "throughput": said.throughput_rps,
        "latency p95": said.latency_p95_ms,
        "TTFT p95": said.ttft_p95_ms,
        "TPOT": said.tpot_ms,
        "quality loss": said.quality_loss,
    }
    why = "predicted under the plan's workload"
    return tuple(Expected(metric=name, figure=figure, conditions=why) for name, figure in figures.items())
