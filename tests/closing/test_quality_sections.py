"""What a report says of one candidate's quality: the loss curve of training, places in the context, tasks."""

from handlers.markdown.quality import positions, tasks, training
from schemas.artifact import Artifact, FileDigest
from schemas.measurement import PositionQuality, QualityMeasurement, TaskComparison

FILE = FileDigest(name="x", sha256="0" * 64, bytes=1)


def made(curve: tuple[float, ...], **parameters: float) -> Artifact:
    """An artifact of a method that trains."""
    return Artifact(
        method="distill",
        weight_format="FP16",
        source_format="F16",
        tools=(),
        source=FILE,
        output=FILE,
        seconds=1,
        curve=curve,
        parameters=dict(parameters),
    )


def test_a_long_curve_is_shown_from_its_first_step_to_its_last() -> None:
    """Twelve rows at the most, evenly spaced, and what became of the rows held out."""
    page = training(made(tuple(float(step) for step in range(100, 0, -1)), kl_before=13.2, kl_after=4.6))
    rows = [line for line in page.splitlines() if line.startswith("| ") and "step" not in line]
    assert "from 13.200 to 4.600 nats" in page
    assert (rows[0], rows[-1], len(rows)) == ("| 1 | 100.000 |", "| 100 | 1.000 |", 12)
    assert training(made((2.5,))).splitlines()[-1] == "| 1 | 2.500 |"


def test_a_bound_is_called_one() -> None:
    """Where only the likeliest tokens were told, the page says that the divergence is a lower bound."""
    place = PositionQuality(start=256, tokens=64, nll_difference=0.1, standard_error=0.01, kl=0.05, top1=0.75)
    quality = QualityMeasurement(
        tokens=64,
        baseline_perplexity=10,
        perplexity=11,
        loss=0.1,
        loss_low=0.05,
        loss_high=0.15,
        confidence=0.95,
        kl=0.05,
        kl_low=0.04,
        kl_high=0.06,
        top1=0.75,
        positions=(place,),
        text="t",
    )
    assert "| 256 | +0.1000 (0.0100) | 0.0500 | 75.0% | 64 |" in positions(quality)
    assert "lower bound" not in positions(quality)
    assert "lower bound" in positions(quality.model_copy(update={"kl_is_bound": True}))


def test_a_task_is_shown_with_its_error_and_its_source() -> None:
    """The difference with its interval, the standard error, the items, and where they come from; names are escaped."""
    found = TaskComparison(
        task="a|b",
        metric="acc",
        items=12,
        baseline=0.5,
        candidate=0.25,
        difference=-0.25,
        standard_error=0.1,
        low=-0.446,
        high=-0.054,
        source="made of t, CC BY-SA 3.0",
    )
    page = tasks([found])
    assert r"| a\|b | acc | 0.500 | 0.250 | -0.250 (-0.446 to -0.054) | 0.100 | 12 |" in page
    assert "CC BY-SA 3.0" in page
