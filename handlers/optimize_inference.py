"""OPTIMIZE_INFERENCE in; at once a plan, or as a job the closed loop on this machine and its report."""

from handlers.context import JobContext
from handlers.optimization.advice import advise, at_hand
from handlers.optimization.loop import optimize
from handlers.registry import Handler
from handlers.services import Services
from schemas.command import Mode, OptimizeInference
from schemas.job import Outcome
from schemas.plan import Plan


def starts_job(command: OptimizeInference, services: Services) -> bool:
    """Whether the command is to be carried out: it says so, or leaves it open and weights and hardware are here."""
    here = at_hand(command, services.workshop)
    return here and command.mode is not Mode.PLAN


async def answer(command: OptimizeInference, services: Services) -> Plan:
    """The plan; also where a run was asked for and weights or hardware are not here."""
    return await advise(command, services.workshop)


async def work(command: OptimizeInference, job: JobContext, services: Services) -> Outcome:
    """Baseline, optimization, validation; the report is in the job's directory."""
    report = await optimize(command, job, services.workshop)
    return Outcome(state=report.state, summary=report.sentence, label=report.hash)


HANDLER = Handler(
    command=OptimizeInference,
    summary="Makes a model meet latency, throughput, quality and money limits: plans, and where it can carries it out.",
    answer=answer,
    work=work,
    starts_job=starts_job,
)
