"""A command's bytes in, its plan on the terminal out; nothing is carried out."""

import sys

from rich.console import Console
from rich.markdown import Markdown

from acp.envelope import classify
from acp.intake import validated
from cli.places import workshop
from handlers.optimization.advice import advise
from planners.render import plan_markdown
from schemas.command import OptimizeInference
from schemas.error import ERRORS, AgentError, ErrorCode


async def run_plan(raw: bytes, *, json: bool) -> int:
    """Print the plan; 0 where it is feasible, else the exit status of `infeasible`.

    Raises:
        AgentError: where the command is not valid, or names a model or hardware that nobody knows.
    """
    envelope = classify(raw, None)
    if envelope.error is not None:
        raise AgentError(envelope.error, envelope.detail)
    command = validated(OptimizeInference, envelope)
    plan = await advise(OptimizeInference.model_validate(command.model_dump()), workshop())
    console = Console()
    if json:
        sys.stdout.write(plan.model_dump_json(indent=1) + "\n")
    elif console.is_terminal:
        console.print(Markdown(plan_markdown(plan)))
    else:
        sys.stdout.write(plan_markdown(plan))
    return 0 if plan.feasible else ERRORS[ErrorCode.INFEASIBLE].exit
