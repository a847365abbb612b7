"""Every command line that a plan can render for an engine, as JSON lists: to be held against the engine's own parser.

python benchmarks/launches.py vllm | PYTHON-WITH-VLLM benchmarks/arguments.py vllm --check
"""

import json
import sys
from collections.abc import Iterator

from planners.catalog import find_model, hardware
from planners.launch import launch_of
from planners.speculation import speculations
from planners.support import engines, rules
from schemas.hardware import Accelerator
from schemas.model import ModelFacts
from schemas.plan import Strategy

MODELS = ("llama-3.3-70b", "deepseek-v3", "deepseek-v3.2")
"""One with grouped heads, drafts and a head of EAGLE-3; one with a latent cache and a module of its own; one
that attends to selected tokens alone."""


def strategy(engine: str, device: str, **changes: object) -> Strategy:
    """A strategy of an engine with its first schedule."""
    plain = Strategy(
        engine=engine,
        weight_format="BF16",
        accelerator=device,
        count=2,
        tensor_parallel=2,
        max_sequences=24,
        scheduling=engines()[engine].scheduling[0],
    )
    return plain.model_copy(update=changes)


def every_setting(engine: str, accelerator: Accelerator, model: ModelFacts) -> Iterator[Strategy]:
    """Every weight format with every cache, guess, schedule and switch that goes with it on the accelerator."""
    known = engines()[engine]
    for rule in rules():
        if rule.engine != engine or not (rule.runs_on(accelerator) and known.attends(model, accelerator)):
            continue
        plain = strategy(engine, accelerator.key, weight_format=rule.weight_format)
        for kv in rule.kv_formats_on(accelerator, model):
            for cached in (False, True):
                for chunked in known.chunked:
                    switches = {"kv_format": kv, "prefix_caching": cached, "chunked_prefill": chunked}
                    yield plain.model_copy(update=switches)
        for name in known.scheduling:
            yield plain.model_copy(update={"scheduling": name})
        for way in speculations(model):
            if way.guesses and way.method in rule.ahead:
                guess = {"speculation": way.method, "draft": way.weights, "guesses": way.guesses}
                yield plain.model_copy(update=guess)


def main() -> None:
    """Print the command lines of one engine, each once."""
    engine = sys.argv[1]
    models = [find_model(name) for name in MODELS]
    launches = (
        launch_of(plan, model, accelerator)
        for accelerator in hardware()
        for model in models
        for plan in every_setting(engine, accelerator, model)
    )
    for line in sorted({launch.arguments for launch in launches if launch is not None}):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
