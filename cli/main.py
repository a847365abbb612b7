"""The command line: one subcommand each, imported only when it runs, so that `--help` is instant."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from cli.identity import check_imports
from schemas.command import QualityWatch
from schemas.error import AgentError, ErrorCode, first_error

T = TypeVar("T")

app = typer.Typer(
    name="inferwright",
    help="Make self-hosted language models faster and cheaper, and measure that they did not get worse.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

toolchains = typer.Typer(no_args_is_help=True, help="Environments of their own for heavy tools.")
app.add_typer(toolchains, name="toolchain")
deployments = typer.Typer(no_args_is_help=True, help="What is in production on this machine.")
app.add_typer(deployments, name="deployment")

Names = Annotated[list[str], typer.Argument(help="Names, as `inferwright toolchain list` shows them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Runs = Annotated[Path, typer.Option(help="Where jobs keep their files.")]
MaybeNats = Annotated[str | None, typer.Option("--nats", help="URLs of NATS servers, separated by commas.")]
Nats = Annotated[
    str, typer.Option(envvar="INFERWRIGHT_NATS_URLS", help="URLs of the NATS servers, separated by commas.")
]
CommandFile = Annotated[Path, typer.Argument(help="A command as JSON; - reads standard input.", allow_dash=True)]
Deployed = Annotated[str, typer.Argument(help="The deployment's name.")]
RUNS = Path("runs")
WATCH = QualityWatch()
NATS = "nats://127.0.0.1:4222"


@app.command(epilog="Example: **inferwright demo**")
def demo(runs: Runs = RUNS) -> None:
    """Run the whole main job on a small real model, with a broker of its own. Minutes, no account, no compiler."""
    from cli.demo import run_demo  # noqa: PLC0415 - imported only when it runs

    _run(run_demo(runs))


@app.command("demo-rollout", epilog="Example: **inferwright demo-rollout**")
def demo_rollout(runs: Runs = RUNS) -> None:
    """Roll three strategies out under load, one good and two bad, on this machine. Needs HAProxy. Six minutes."""
    from cli.rollout import run_rollout_demo  # noqa: PLC0415

    _run(run_rollout_demo(runs))


@app.command(epilog="Example: **inferwright serve --nats nats://127.0.0.1:4222**")
def serve(
    nats: MaybeNats = None,
    runs: Runs = RUNS,
    http: Annotated[
        bool, typer.Option("--http", help="Open the HTTP bridge and dashboard on 127.0.0.1:8787 too.")
    ] = False,
) -> None:
    """Run the agent until Ctrl-C or SIGTERM, on a NATS server with JetStream; without one, on a broker of its own."""
    from acp.logs import configure  # noqa: PLC0415
    from acp.settings import Settings  # noqa: PLC0415
    from cli.serve import serve as run_agent  # noqa: PLC0415

    configure()
    settings = Settings(runs_dir=runs)
    chosen = {"nats_urls": tuple(nats.split(","))} if nats else {}
    settings = settings.model_copy(update=chosen | ({"http": True} if http else {}))
    _run(run_agent(settings, on_bridge=lambda bridge: typer.echo(f"dashboard: {bridge.url}/", err=True)))


@app.command(epilog="Example: **inferwright send examples/smollm2.json**")
def send(file: CommandFile, nats: Nats = NATS, json: Json = False) -> None:
    """Send a command as a peer would: print the reply, follow the updates, end with the outcome."""
    from cli.follow import run_send  # noqa: PLC0415

    sys.exit(_run(run_send(_read(file), nats, json=json)))


@app.command(
    epilog="Example: **inferwright plan examples/llama-3-70b.json**; exit 0 feasible, 3 infeasible, 2 invalid."
)
def plan(file: CommandFile, json: Json = False) -> None:
    """Answer a command with a plan, and carry nothing out. Needs no broker and no weights."""
    from cli.plan import run_plan  # noqa: PLC0415

    sys.exit(_run(run_plan(_read(file), json=json)))


@app.command(epilog="Example: **inferwright report job-…**")
def report(
    job: Annotated[str, typer.Argument(help="The job's id, or its folder.")], runs: Runs = RUNS, json: Json = False
) -> None:
    """Print the report of a finished job."""
    from cli.report import run_report  # noqa: PLC0415

    run_report(job, runs, json=json)


@app.command(epilog="Example: **inferwright doctor --json**")
def doctor(json: Json = False) -> None:
    """Say what is here, what is missing, and what to do about it."""
    from cli.doctor import run_doctor  # noqa: PLC0415

    sys.exit(_run(run_doctor(json=json)))


@app.command(epilog="Example: **printf '%s\\n' '{\"cmd\":\"PING\"}' | inferwright classify**")
def classify() -> None:
    """Say of each line of standard input what kind of message it is; no line stops it."""
    from cli.classify import classify_lines  # noqa: PLC0415

    classify_lines(sys.stdin.buffer, sys.stdout.buffer)


@app.command(epilog="Example: **inferwright predict --in rows.csv --out predicted.csv**")
def predict(
    source: Annotated[Path, typer.Option("--in", help="Rows with the columns of a published benchmark, as CSV.")],
    target: Annotated[Path, typer.Option("--out", help="The same rows with predicted, low, high, evidence, skipped.")],
    quality: Annotated[bool, typer.Option(help="The rows are quality losses, not speeds.")] = False,
    silicon: Annotated[bool, typer.Option(help="Use measured kernels where aiconfigurator-core is installed.")] = True,
) -> None:
    """Predict every row of a benchmark, to hold the planner against figures it was never shown."""
    from cli.predict import predict as run_predict  # noqa: PLC0415

    predicted, skipped = run_predict(source, target, quality=quality, silicon=silicon)
    typer.echo(f"{predicted} rows predicted, {skipped} skipped with their reasons, in {target}", err=True)


@deployments.command("status")
def deployment_status(runs: Runs = RUNS, json: Json = False) -> None:
    """Say what is in production and how it does; needs no agent."""
    from cli.deployments import status  # noqa: PLC0415

    _run(status(runs, json=json))


@deployments.command("take-down", epilog="Example: **inferwright deployment take-down demo**")
def deployment_take_down(name: Deployed, runs: Runs = RUNS) -> None:
    """End a deployment's gateway, engines and supervisor; its folder stays."""
    from cli.deployments import take_down  # noqa: PLC0415

    _run(take_down(name, runs))


@deployments.command("autoscale", epilog="Example: **inferwright deployment autoscale demo --most 4**")
def deployment_autoscale(
    name: Deployed,
    runs: Runs = RUNS,
    fewest: Annotated[int, typer.Option(min=1, max=8, help="Replicas at the least.")] = 1,
    most: Annotated[int, typer.Option(min=1, max=8, help="Replicas at the most.")] = 8,
    priority_p95: Annotated[
        float | None, typer.Option(min=1, help="Milliseconds that requests of a high priority keep to at their p95.")
    ] = None,
) -> None:
    """Start and stop replicas as the load asks, and let in what priority allows, until Ctrl-C."""
    from cli.deployments import autoscale  # noqa: PLC0415
    from schemas.scaling import ScalingRule  # noqa: PLC0415

    _run(autoscale(name, runs, ScalingRule(fewest=fewest, most=max(fewest, most)), priority_p95))


@deployments.command("watch", epilog="Example: **inferwright deployment watch demo --rollback**")
def deployment_watch(
    name: Deployed,
    runs: Runs = RUNS,
    *,
    share: Annotated[float, typer.Option(help="Of the requests, whose prompts are sampled.")] = WATCH.share,
    tokens: Annotated[int, typer.Option(help="Scored tokens of one window at the most.")] = WATCH.tokens,
    pause_s: Annotated[float, typer.Option(help="Seconds from a verdict to the next window.")] = WATCH.pause_s,
    limit: Annotated[float, typer.Option(min=0, help="Loss that is allowed against the untouched model.")] = 0.02,
    rollback: Annotated[bool, typer.Option(help="Whether a breach brings the release before back.")] = WATCH.rollback,
    off: Annotated[bool, typer.Option("--off", help="End the watch instead.")] = False,
) -> None:
    """Judge what serves on live prompts from now on, in the background; mode `deploy` does so by itself."""
    from cli.watching import switch  # noqa: PLC0415

    spec = QualityWatch(share=share, tokens=tokens, pause_s=pause_s, rollback=rollback)
    _run(switch(name, runs, None if off else spec, limit))


@deployments.command("cache", epilog="Example: **inferwright deployment cache demo --minutes 10**")
def deployment_cache(
    name: Deployed,
    runs: Runs = RUNS,
    *,
    megabytes: Annotated[int, typer.Option(min=1, help="On disk at the most.")] = 256,
    minutes: Annotated[int, typer.Option(min=1, help="How long an answer is given again.")] = 60,
    off: Annotated[bool, typer.Option("--off", help="Keep no answers any more.")] = False,
) -> None:
    """Keep answers to identical requests at temperature 0 before the gateway, at an address of its own; needs NGINX."""
    from cli.answers import switch  # noqa: PLC0415

    _run(switch(name, runs, None if off else (megabytes, minutes)))


@deployments.command("nginx", epilog="Example: **inferwright deployment nginx demo > nginx.conf**")
def deployment_nginx(name: Deployed, runs: Runs = RUNS) -> None:
    """Print what NGINX would need to take the gateway's place: shares and sessions, no priorities, no queue."""
    from cli.answers import configuration  # noqa: PLC0415

    configuration(name, runs)


@deployments.command("watching", hidden=True)
def deployment_watching(name: Deployed, runs: Runs = RUNS) -> None:
    """The watch itself, as a deployment's supervisor runs it."""
    from cli.watching import watching  # noqa: PLC0415

    _run(watching(name, runs))


@toolchains.command("list")
def toolchain_list(json: Json = False) -> None:
    """List every toolchain: state, size on disk, what it is."""
    from cli.toolchains import list_all  # noqa: PLC0415

    list_all(json=json)


@toolchains.command("install", epilog="Example: **inferwright toolchain install llamacpp texts**")
def toolchain_install(names: Names, json: Json = False) -> None:
    """Make toolchains where they are missing, stale or broken."""
    from cli.toolchains import install  # noqa: PLC0415

    _run(install(names, json=json))


@toolchains.command("verify")
def toolchain_verify(names: Names, json: Json = False) -> None:
    """Check that installed toolchains are whole; `install` makes one that is not again."""
    from cli.toolchains import verify  # noqa: PLC0415

    _run(verify(names, json=json))


@toolchains.command("remove")
def toolchain_remove(names: Names, json: Json = False) -> None:
    """Delete toolchains."""
    from cli.toolchains import remove  # noqa: PLC0415

    _run(remove(names, json=json))


def _run(work: Coroutine[object, object, T]) -> T:
    """What `work` comes to; Ctrl-C cancels it, waits until it has cleaned up, and exits with 130."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        typer.secho("inferwright: stopped; nothing is left running", err=True)
        raise typer.Exit(130) from None


def _read(file: Path) -> bytes:
    """The bytes of a command's file, or of standard input.

    Raises:
        AgentError: `invalid_command` where it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise AgentError(ErrorCode.INVALID_COMMAND, f"{file} cannot be read: {error.strerror}") from error


def main() -> None:
    """The entry point: an error becomes one sentence and an exit status."""
    check_imports()
    try:
        app()
    except AgentError as error:
        typer.secho(f"inferwright: {error.detail}", fg="red", err=True)
        sys.exit(error.rule.exit)
    except ValidationError as error:
        typer.secho(f"inferwright: {error.title}: {first_error(error)}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
