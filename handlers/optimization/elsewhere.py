"""A method whose tool wants a GPU in; the step rendered, checked and handed to whoever has one out: never done here."""

import shlex

from executors.compress.compress import Effort
from executors.compress.elsewhere import GpuMethod, render
from executors.files import write_whole
from handlers.context import JobContext
from handlers.markdown.findings import rendered_markdown
from handlers.optimization.delegate import COMPONENT, told
from handlers.services import Services
from schemas.delegation import Handoff, HandoffContext, Peer
from schemas.findings import RenderedReport
from schemas.job import Outcome
from schemas.plan import StepKind
from schemas.request import QuantizeModel
from schemas.status import InferenceStatus, JobState

LABEL = "rendered_v1"
DELIVERABLES = (
    "the quantized folder",
    "its manifest: tool versions, seconds, digests",
    "its scores against the baseline",
)


async def rendered(command: QuantizeModel, chosen: GpuMethod, job: JobContext, services: Services) -> Outcome:
    """Script and command in the job's directory and in a hand-off to devops-engineer; the job ends as not met."""
    limits = services.workshop.effort
    step = render(chosen, Effort(samples=limits.calibration_samples, tokens=limits.calibration_tokens))
    write_whole(job.directory / step.script_name, step.script)
    write_whole(job.directory / "command.txt", shlex.join(step.command) + "\n")
    handoff = Handoff(
        from_agent=services.agent,
        to_agent=Peer.DEVOPS,
        component=f"{COMPONENT}-0",
        context=HandoffContext(
            job=job.job,
            model=command.model,
            reason=f"run {chosen.name} on {chosen.needs}: this machine has none",
            strategy=chosen.weight_format,
            rendering=step,
        ),
        deliverables_expected=DELIVERABLES,
    )
    outcomes = (await job.hand_off(handoff),)
    report = RenderedReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=JobState.NOT_MET,
        sentence=(
            f"Planned only, not done: {chosen.name} needs {chosen.needs}; its script, arguments and container were "
            f"rendered and checked, not run. {told(outcomes)[0]}."
        ),
        weight_format=chosen.weight_format,
        rendering=step,
        handoffs=outcomes,
        hash=LABEL,
    )
    write_whole(job.directory / "report.json", report.model_dump_json(indent=1))
    write_whole(job.directory / "report.md", rendered_markdown(report))
    status = InferenceStatus(
        state=report.state,
        phase=StepKind.OPTIMIZATION,
        optimization=chosen.name,
        detail=report.sentence,
        progress=1.0,
    )
    return Outcome(state=report.state, summary=report.sentence, status=status, label=report.hash)
