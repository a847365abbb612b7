"""A plan: the strategies considered, what each is predicted to do, the chosen ones in the order of trial, and why."""

from enum import StrEnum

from pydantic import NonNegativeInt, PositiveInt

from schemas.base import Record
from schemas.command import Mode
from schemas.delegation import Peer
from schemas.evidence import Estimate
from schemas.text import counted


class Strategy(Record):
    """One way to serve a model: everything that an executor needs to know to build and start it."""

    engine: str
    weight_format: str
    kv_format: str = "FP16"
    importance_matrix: bool = False
    accelerator: str
    count: PositiveInt = 1
    """Accelerators of one replica."""
    tensor_parallel: PositiveInt = 1
    pipeline_parallel: PositiveInt = 1
    replicas: PositiveInt = 1
    threads: PositiveInt = 1
    max_sequences: PositiveInt = 1
    """Sequences decoded together (llama.cpp's slots, vLLM's max_num_seqs)."""
    batched_tokens: PositiveInt = 512
    """Tokens of one engine iteration at the most."""
    context: PositiveInt = 2048
    """Tokens of prompt and answer that one sequence may hold."""
    chunked_prefill: bool = True
    prefix_caching: bool = False
    speculation: str = "none"
    """What guesses tokens ahead: `ngram`, `draft` (a smaller model), `eagle3` or `mtp` (a head of the model's)."""
    draft: str = ""
    """Where the draft's weights are published; empty where there is none."""
    guesses: NonNegativeInt = 0
    """Tokens guessed for each step."""
    scheduling: str = "fcfs"

    @property
    def label(self) -> str:
        """A short name for people and for the wire: `llama.cpp Q5_K_M+imatrix, 2 threads, 8 slots`."""
        quant = self.weight_format + ("+imatrix" if self.importance_matrix else "")
        gpus = f"{self.replicas}x{self.count}x{self.accelerator}"
        place = counted(self.threads, "thread") if self.accelerator == "host" else gpus
        ahead = "" if self.speculation == "none" else f", {self.speculation} {self.draft.rpartition('/')[2]}".rstrip()
        return f"{self.engine} {quant}, {place}, {counted(self.max_sequences, 'slot')}{ahead}"


class Memory(Record):
    """Gigabytes (decimal) per replica, by what they hold."""

    weights_gb: float
    kv_cache_gb: float
    activations_gb: float
    runtime_gb: float

    @property
    def total_gb(self) -> float:
        """All of it."""
        return self.weights_gb + self.kv_cache_gb + self.activations_gb + self.runtime_gb


class Prediction(Record):
    """What a strategy is expected to do under the plan's workload."""

    throughput_rps: Estimate
    output_tokens_s: Estimate
    ttft_p50_ms: Estimate
    ttft_p95_ms: Estimate
    tpot_ms: Estimate
    latency_p50_ms: Estimate
    latency_p95_ms: Estimate
    latency_p99_ms: Estimate
    quality_loss: Estimate
    """Relative rise of perplexity against the baseline; 0.02 is 2 %."""
    cost_monthly_usd: Estimate | None = None
    cost_per_1k_usd: Estimate | None = None
    """US dollars per 1,000 requests at the workload's request rate."""
    cost_per_1m_tokens_usd: Estimate | None = None


class Candidate(Record):
    """A strategy with its prediction, its memory and what speaks for or against it."""

    strategy: Strategy
    prediction: Prediction
    memory: Memory
    reasons: tuple[str, ...] = ()


class RuledOut(Record):
    """How many candidates fell for one reason, with one of them named."""

    reason: str
    count: PositiveInt
    example: str


class Relaxation(Record):
    """The nearest value of one limit that would make an infeasible request feasible, all else kept."""

    limit: str
    asked: float
    needed: float
    unit: str
    strategy: str
    jointly: bool = False
    """Not enough alone: all relaxations marked so are needed together."""


class Sensitivity(Record):
    """What loosening one limit by a step buys."""

    limit: str
    step: str
    gain: str


class Assumption(Record):
    """Something the plan takes as given because the request did not say."""

    name: str
    value: str
    why: str


class StepKind(StrEnum):
    """The phases of a job, as users see them."""

    BASELINE = "baseline"
    OPTIMIZATION = "optimization"
    VALIDATION = "validation"
    DEPLOYMENT = "deployment"


class Step(Record):
    """One thing to do, and which executor does it."""

    name: str
    phase: StepKind
    executor: str
    detail: str


class PlannedHandoff(Record):
    """Work for a peer agent, and what it should deliver."""

    peer: Peer
    work: str
    deliverables: tuple[str, ...]


class PlannedWorkload(Record):
    """The traffic the plan was made for. Tokens per request, requests per second."""

    input_tokens: PositiveInt
    output_tokens: PositiveInt
    request_rate: float
    concurrency: PositiveInt
    shared_prefix_tokens: NonNegativeInt = 0
    batch_job: bool = False


class KernelChoice(Record):
    """One choice of kernels or compilation that an engine offers, and why this one."""

    setting: str
    argument: str
    """The flag, with a key of its JSON or of its file after a dot; `env` for a variable."""
    value: str
    why: str
    source: str


class Container(Record):
    """The maker's image of an engine: `command` follows the image, weights lie under `/model`, it listens on 8000."""

    image: str
    command: tuple[str, ...]
    environment: tuple[str, ...] = ()
    host_options: tuple[str, ...] = ()
    """What `docker run` needs for the devices."""
    source: str

    @property
    def docker_run(self) -> tuple[str, ...]:
        """The command line; `WEIGHTS` and `SETTINGS` stand for the folders of weights and settings file."""
        variables = (word for name in self.environment for word in ("--env", name))
        mounts = ["--volume", "WEIGHTS:/model:ro"]
        if any(word.startswith("/settings/") for word in self.command):
            mounts += ["--volume", "SETTINGS:/settings:ro"]
        ports = ("--publish", "127.0.0.1:8000:8000")
        return ("docker", "run", "--rm", *self.host_options, *ports, *mounts, *variables, self.image, *self.command)


class Launch(Record):
    """How an engine is started for a strategy; the model's path is not among the arguments."""

    engine: str
    checked_against: str
    """The launcher and version whose published arguments these keep to."""
    arguments: tuple[str, ...]
    settings: str = ""
    """YAML for the file that `--config` names; empty where there is none."""
    environment: tuple[str, ...] = ()
    kernels: tuple[KernelChoice, ...] = ()
    container: Container | None = None


class Plan(Record):
    """The planner's answer; the same request and facts give the same plan to the byte."""

    model: str
    mode: Mode
    hardware: str
    workload: PlannedWorkload
    max_quality_loss: float
    feasible: bool
    verdict: str
    """One sentence: what to do, or which limit binds."""
    bottleneck: str
    """`compute` or `memory` for the baseline's decode, with the figures behind it."""
    baseline: Candidate
    """The untouched model on the same hardware."""
    chosen: tuple[Candidate, ...]
    """In the order in which they are tried; empty where infeasible."""
    frontier: tuple[Candidate, ...]
    considered: NonNegativeInt
    ruled_out: tuple[RuledOut, ...]
    binding: tuple[str, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    steps: tuple[Step, ...] = ()
    handoffs: tuple[PlannedHandoff, ...] = ()
    launch: Launch | None = None
    """How the first choice's engine is started; None for libraries."""
    undo: str = ""
    hash: str
