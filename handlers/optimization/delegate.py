"""What a plan or a run leaves for others: hand-offs to peer agents, asked once each, their answers folded back in."""

from collections.abc import Iterator

from handlers.context import JobContext
from schemas.delegation import Handoff, HandoffContext, HandoffOutcome, Peer
from schemas.measurement import GateVerdict
from schemas.plan import PlannedHandoff
from schemas.report import Comparison, Trial

COMPONENT = "inference"


async def hand_off(
    job: JobContext, agent: str, model: str, wanted: tuple[PlannedHandoff, ...]
) -> tuple[HandoffOutcome, ...]:
    """Ask each peer once, also over a restart; one that is absent is `unanswered` and holds nothing up."""
    outcomes = []
    for number, item in enumerate(wanted):
        handoff = Handoff(
            from_agent=agent,
            to_agent=item.peer,
            component=f"{COMPONENT}-{number}",
            context=HandoffContext(job=job.job, model=model, reason=item.work),
            deliverables_expected=item.deliverables,
        )
        outcomes.append(await job.hand_off(handoff))
    return tuple(outcomes)


def after_run(trials: tuple[Trial, ...], baseline: tuple[Comparison, ...]) -> Iterator[PlannedHandoff]:
    """What the measurements ask of others: quality that is undecided or lost, a host slower than it should be."""
    yield from quality_work({trial.gate.verdict for trial in trials if trial.gate})
    yield from slow_host(baseline)


def quality_work(verdicts: set[GateVerdict]) -> Iterator[PlannedHandoff]:
    """Whom to ask where the gate leaves something undecided, or refused all that it saw."""
    if GateVerdict.UNDECIDED in verdicts:
        work = "judge on the users' own tasks what perplexity leaves undecided"
        yield PlannedHandoff(peer=Peer.AI_ML, work=work, deliverables=("task scores against the baseline",))
    if verdicts == {GateVerdict.FAILED}:
        work = "say whether training can recover the quality that every smaller format lost"
        yield PlannedHandoff(peer=Peer.FINE_TUNING, work=work, deliverables=("recovered weights",))


def slow_host(baseline: tuple[Comparison, ...]) -> Iterator[PlannedHandoff]:
    """Whom to ask where the untouched model is slower than the host's own figures explain."""
    slow = [item for item in baseline if item.metric == "throughput_rps" and item.measured.high < item.predicted.low]
    for item in slow:
        share = item.measured.value / item.predicted.value
        work = f"find out why the untouched model reaches {share:.0%} of the throughput this host should give"
        yield PlannedHandoff(peer=Peer.SYSTEMS, work=work, deliverables=("cause", "settings"))


def told(outcomes: tuple[HandoffOutcome, ...]) -> tuple[str, ...]:
    """Each hand-off with what became of it, for people."""
    answers = (f": {item.answer}" if item.answer else "" for item in outcomes)
    return tuple(
        f"{item.handoff.to_agent}: {item.handoff.context.reason} ({item.state}{answer})"
        for item, answer in zip(outcomes, answers, strict=True)
    )
