"""What a sender may say of a rollout, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from handlers.deployment.deploy import name_of
from schemas.command import Mode, OptimizeInference, RolloutSpec
from schemas.operation import ScaleDeployment

EXAMPLE = Path(__file__).parents[2] / "examples" / "smollm2-deploy.json"


def test_the_example_is_a_command() -> None:
    """Percentages are shares; what is left out has its default."""
    command = OptimizeInference.model_validate_json(EXAMPLE.read_bytes())
    assert (command.mode, name_of(command)) == (Mode.DEPLOY, "smollm2")
    assert command.rollout.steps == (0.05, 0.25, 0.5, 1.0)
    assert command.rollout.judge_quality


@pytest.mark.parametrize("steps", [(0.5, 0.1, 1.0), (0.0, 1.0), (0.1, 0.5), (0.1, 0.1, 1.0), (1.0, 2.0), ()])
def test_steps_rise_to_all(steps: tuple[float, ...]) -> None:
    """Not down, not from nothing, not without an end, not beyond all."""
    with pytest.raises(ValidationError):
        RolloutSpec(steps=steps)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("7B/../x y", "m-7b-x-y"),
        ("é" * 40, "m"),
        ("a" * 60, "a" * 31),
    ],
)
def test_a_deployment_is_named_after_its_model(model: str, name: str) -> None:
    """Whatever the model is called, its deployment's name is one that a folder and a program may have."""
    assert name_of(OptimizeInference(cmd="OPTIMIZE_INFERENCE", model=model)) == name


def test_scaling_is_one_thing_or_the_other() -> None:
    """A number, or bounds that are in order and paid for."""
    unpaid = {"fewest": 2, "budget_monthly": 500, "replica_monthly": 300}
    both = {"replicas": 2, "autoscale": {}}
    for said in ({}, both, {"autoscale": {"fewest": 3, "most": 2}}, {"autoscale": unpaid}, {"replicas": 99}):
        with pytest.raises(ValidationError):
            ScaleDeployment.model_validate({"cmd": "SCALE_DEPLOYMENT", "deployment": "x"} | said)
