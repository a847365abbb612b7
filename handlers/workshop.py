"""Where a job finds tools, weights and texts on this machine, and how much effort it may make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executors.process import NO_LIMITS, Limits
from schemas.measurement import Generator


@dataclass(frozen=True)
class Effort:
    """How long a job measures. Smaller figures make a faster job and wider intervals."""

    requests: int = 16
    """Requests of the largest load level; smaller levels send fewer."""
    level_limit_s: float = 25.0
    warmup: int = 2
    importance_tokens: int = 4096
    calibration_samples: int = 64
    calibration_tokens: int = 512
    """Sequences that methods with calibration read, and the tokens of each."""
    training_steps: int = 200
    task_items: int = 100
    """Of each task at the most."""
    judge_tokens: int = 24_000
    """The gate is undecided when it has seen this many tokens without a decision."""
    trials: int = 6
    rounds: int = 6
    """Of a comparison, at least three."""
    max_threads: int | None = None
    """Engine threads at the most; None is one per core."""
    generator: Generator = Generator.BUILT_IN
    """What puts load on where the command does not say."""


@dataclass(frozen=True)
class Workshop:
    """Places on this machine."""

    cache: Path
    """Toolchains and texts, shared between jobs."""
    model_roots: tuple[Path, ...]
    memory: Path
    """What earlier jobs measured here, and the lock that lets one measure at a time."""
    price_file: Path | None = None
    calibration_text: Path | None = None
    evaluation_text: Path | None = None
    task_data: Path | None = None
    """The user's own items for tasks of lm-evaluation-harness: a folder each, a `SPLIT.jsonl` for each split."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Models served elsewhere that may be judged: URLs of OpenAI-compatible servers by the model's name there."""
    limits: Limits = NO_LIMITS
    """Of each tool and engine that a job starts."""
    effort: Effort = field(default_factory=Effort)
