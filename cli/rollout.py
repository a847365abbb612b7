"""Three rollouts on this machine under a steady load: a good one, one of bad quality, one that is slow."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from cli.board import Board
from cli.crowd import Crowd, prompts
from cli.demo import provide
from cli.errand import Errand
from cli.places import workshop
from executors import models, texts, toolchain
from executors.compress.gguf import quantize
from executors.deploy.engines import Engines
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.site import Site
from executors.worker import Workbench
from handlers.deployment.desk import FOLDER, Desk
from handlers.deployment.rollout import roll_out
from handlers.markdown.rollout import rollout_markdown
from handlers.workshop import Workshop
from schemas.command import RolloutSpec
from schemas.deployment import Deployment, Release, RolloutEnd, RolloutOutcome
from schemas.error import AgentError, ErrorCode
from schemas.plan import Strategy

NAME = "demo"
MODEL = "SmolLM2-135M-Instruct"
RATE = 4.0
PROMPT_CHARACTERS = 160
STRATEGY = Strategy(engine="llama.cpp", weight_format="F16", accelerator="host", max_sequences=2, context=512)
SPEC = RolloutSpec(steps=(0.05, 0.25, 0.5, 1.0), requests=10, hold_limit_s=120.0, quality_tokens=2048)


@dataclass(frozen=True)
class Trial:
    """A strategy to roll out, and how that should end."""

    title: str
    strategy: Strategy
    expected: RolloutEnd


TRIALS = (
    Trial("good: Q8_0", STRATEGY.model_copy(update={"weight_format": "Q8_0"}), RolloutEnd.PROMOTED),
    Trial("bad quality: Q2_K", STRATEGY.model_copy(update={"weight_format": "Q2_K"}), RolloutEnd.ROLLED_BACK),
    Trial(
        "slow: Q8_0 that reads its prompts two tokens at a time",
        STRATEGY.model_copy(update={"weight_format": "Q8_0", "batched_tokens": 2}),
        RolloutEnd.ROLLED_BACK,
    ),
)


async def run_rollout_demo(runs: Path) -> None:
    """Make the weights, put F16 into production, roll each strategy out under load, print what came of it.

    Raises:
        AgentError: `internal` where a rollout did not end as it should.
    """
    place = workshop()
    with Board() as board:
        await provide(place, board)
        directory = runs.absolute() / f"rollout-{time.strftime('%H%M%S')}"
        (directory / "logs").mkdir(parents=True)
        tools = toolchain.find("llamacpp", place.cache)
        home = Home.under(runs.absolute() / FOLDER, NAME)
        home.make()
        site = Site(home, Engines(home, tools.python, place.limits), GatewaySettings())
        made = await _weights(place, tools, directory, board)
        try:
            outcomes = await Show(place, tools, site, directory, made, board).all()
        finally:
            await site.take_down()
    wrong = [trial.title for trial, outcome in zip(TRIALS, outcomes, strict=True) if outcome.end is not trial.expected]
    if wrong:
        raise AgentError(ErrorCode.INTERNAL, f"not as expected: {'; '.join(wrong)}")


@dataclass(frozen=True)
class Show:
    """What the three rollouts share."""

    place: Workshop
    tools: toolchain.Toolchain
    site: Site
    directory: Path
    made: dict[str, Path]
    board: Board

    async def all(self) -> list[RolloutOutcome]:
        """F16 into production, then one rollout after the other under the same load."""
        base = self.made["F16"]
        first = await self.site.open(MODEL, self.site.release(None, STRATEGY, base, base))
        self.board.note(f"{first.stable.label} serves all requests at {first.url}")
        text = texts.find(self.place.cache).calibration.path.read_text(encoding="utf-8")
        crowd = Crowd(first.url, prompts(text[:400_000], PROMPT_CHARACTERS), RATE)
        outcomes = []
        async with crowd.asking():
            self.board.note(f"{RATE:g} requests a second through the gateway, from now to the end")
            for trial in TRIALS:
                self.board.note(f"--- {trial.title}")
                outcomes.append(await self._one(trial))
        scraped = await _scraped(self.site.known())
        for trial, outcome in zip(TRIALS, outcomes, strict=True):
            print(f"\n# {trial.title}\n\n{rollout_markdown(outcome)}")
        latest = max(one.ms for one in crowd.went)
        sent, failed = len(crowd.went), len(crowd.failed)
        print(f"Requests sent through the gateway: {sent}, failed: {failed}, longest {latest:.0f} ms.")
        print(f"Prometheus saw {scraped:.0f} answered requests at the gateway meanwhile.")
        return outcomes

    async def _one(self, trial: Trial) -> RolloutOutcome:
        folder = self.directory / trial.title.split(":")[0].replace(" ", "-")
        (folder / "logs").mkdir(parents=True)
        desk = Desk(
            job=Errand(folder.name, folder, self.board.update),
            site=self.site,
            tools=self.tools,
            workshop=self.place,
            spec=SPEC,
            max_quality_loss=0.02,
            label=trial.strategy.label,
            version="inf_opt_v1",
        )

        async def make(before: Deployment | None) -> Release:
            weights = self.made[trial.strategy.weight_format]
            return self.site.release(before, trial.strategy, weights, self.made["F16"])

        return await roll_out(desk, MODEL, make)


async def _weights(place: Workshop, tools: toolchain.Toolchain, directory: Path, board: Board) -> dict[str, Path]:
    """F16 and the two smaller forms. The gate that `mode: deploy` holds before any rollout is left out here."""
    source = models.locate(MODEL, place.model_roots)
    if source is None:
        raise AgentError(ErrorCode.UNKNOWN_MODEL, f"no weights of {MODEL}")
    bench = Workbench(tools, 1, directory / "logs" / "quantize.log")
    made = {"F16": directory / "F16.gguf"}
    await quantize(source, "F16", made["F16"], importance=None, bench=bench)
    for name in ("Q8_0", "Q2_K"):
        made[name] = directory / f"{name}.gguf"
        await quantize(made["F16"], name, made[name], importance=None, bench=bench)
    board.note("weights made: F16, Q8_0, Q2_K")
    return made


async def _scraped(deployment: Deployment) -> float:
    """Requests that Prometheus counts at the gateway; 0 where this machine has none."""
    if deployment.prometheus_port is None:
        return 0.0
    query = 'sum(haproxy_backend_http_responses_total{code="2xx"})'
    url = f"http://127.0.0.1:{deployment.prometheus_port}/api/v1/query"
    await asyncio.sleep(6)  # one more scrape
    async with aiohttp.ClientSession() as session, session.get(url, params={"query": query}) as answer:
        found = (await answer.json())["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0
