"""OPTIMIZE_INFERENCE in; at once a plan, or as a job the closed loop on this machine, its report and its rollout."""

from executors.deploy import haproxy
from executors.deploy.home import Home
from executors.files import write_whole
from handlers.context import JobContext
from handlers.deployment.deploy import deploy, name_of
from handlers.deployment.desk import FOLDER
from handlers.handover.jobs import after_plan
from handlers.optimization.advice import advise, at_hand, known, model_of, prices_of
from handlers.optimization.delegate import hand_off, told
from handlers.optimization.finish import final_status
from handlers.optimization.loop import optimize
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.prepare import measuring
from planners.cost import cost_of_plan
from planners.render import plan_markdown
from schemas.command import Mode, OptimizeInference, RespondFormat
from schemas.findings import CostReport, PredictedPerformance
from schemas.job import Outcome
from schemas.plan import Plan
from schemas.status import JobState


def starts_job(command: OptimizeInference, services: Services) -> bool:
    """Whether the command is to be carried out: it says so, or leaves it open and weights and hardware are here.

    Raises:
        AgentError: `toolchain_missing` where mode `deploy` lacks its gateway; `unknown_model` or `unknown_hardware`
            where nothing can be done.
    """
    if command.mode is Mode.PLAN:
        return False
    if at_hand(command, services.workshop):
        if command.mode is Mode.DEPLOY:
            haproxy.find()
            Home.under(services.runs_dir / FOLDER, name_of(command))
        return True
    known(command, services.workshop)
    return command.mode in {Mode.RUN, Mode.DEPLOY}


async def answer(command: OptimizeInference, services: Services) -> Plan:
    """The plan."""
    return await advise(command, services.workshop)


async def work(command: OptimizeInference, job: JobContext, services: Services) -> Outcome:
    """All four phases as far as the mode goes; where weights or hardware are elsewhere, the plan and its hand-offs."""
    if not at_hand(command, services.workshop):
        return await _hand_over(command, job, services)
    async with measuring(services.workshop):
        report = await optimize(command, job, services)
    if command.mode is Mode.DEPLOY:
        return await deploy(command, report, job, services)
    return Outcome(state=report.state, summary=report.sentence, status=final_status(report), label=report.hash)


async def _hand_over(command: OptimizeInference, job: JobContext, services: Services) -> Outcome:
    """Plan, keep the plan, ask the peers; nothing is claimed to have been carried out."""
    plan = await job.step("plan", Plan, lambda: advise(command, services.workshop))
    write_whole(job.directory / "plan.json", plan.model_dump_json(indent=1))
    cluster = after_plan(job.directory, command, model_of(command.model, services.workshop), job.job, plan)
    wanted = (*plan.handoffs, cluster) if cluster else plan.handoffs
    outcomes = await hand_off(job, services.agent, command.model, wanted)
    asked = "; ".join(told(outcomes)) or "nobody was asked"
    summary = f"Planned only, since weights or hardware are not on this machine: {plan.verdict} Handed over: {asked}."
    return Outcome(state=JobState.NOT_MET, summary=summary, label=plan.hash)


def performance(_: OptimizeInference, plan: Plan, __: Services) -> PredictedPerformance:
    """What a plan predicts, without its steps and reasons."""
    return PredictedPerformance(
        model=plan.model,
        hardware=plan.hardware,
        workload=plan.workload,
        sentence=plan.verdict,
        bottleneck=plan.bottleneck,
        baseline=plan.baseline,
        strategies=plan.chosen,
        assumptions=plan.assumptions,
    )


def cost(command: OptimizeInference, plan: Plan, services: Services) -> CostReport:
    """What a plan costs."""
    return cost_of_plan(plan, command.constraints, command.current_perf, prices_of(services.workshop.price_file))


HANDLER = Handler(
    command=OptimizeInference,
    summary="Makes a model meet latency, throughput, quality and money limits: plans, and where it can carries it out.",
    answer=answer,
    work=work,
    starts_job=starts_job,
    markdown=plan_markdown,
    views={RespondFormat.PERFORMANCE_REPORT: performance, RespondFormat.COST_REPORT: cost},
)
