"""Releases as plans make them, over the engines and accelerators that manifests are written for."""

from pathlib import Path

from planners.catalog import find_model, hardware
from planners.launch import launch_of
from schemas.cluster import ClusterRelease
from schemas.hardware import Accelerator, AcceleratorKind, HostFacts
from schemas.plan import Strategy

HOST = HostFacts.model_validate_json((Path(__file__).parents[1] / "planning/golden/host.json").read_bytes())


def accelerator(key: str) -> Accelerator:
    """One row of the catalog."""
    return next(item for item in hardware() if item.key == key)


def release(engine: str, key: str, *, count: int = 1, pipeline: int = 1, weights: str = "model") -> ClusterRelease:
    """A release of `engine` on `count` accelerators a replica."""
    device = accelerator(key)
    strategy = Strategy(
        engine=engine,
        weight_format="FP16",
        accelerator=key,
        count=count,
        tensor_parallel=count // pipeline,
        pipeline_parallel=pipeline,
        replicas=2,
        max_sequences=64,
        threads=8 if device.kind is AcceleratorKind.CPU else 1,
    )
    launch = launch_of(strategy, find_model("llama-3-70b"), device)
    return ClusterRelease(
        name="llama-3-70b",
        model="llama-3-70b",
        version="inf_opt_v2",
        job="job-test",
        strategy=strategy,
        weights=weights,
        arguments=launch.arguments if launch else (),
        image=launch.container.image if launch and launch.container else "",
        environment=launch.environment if launch else (),
        settings=launch.settings if launch else "",
        accelerator=device,
        memory_gb=60,
        weights_gb=40,
        replicas=2,
        replicas_max=4,
        replicas_why="a test",
        latency_p95_ms=2600,
        canary=0.05,
    )


ALL = {
    "vllm-h100": release("vllm", "H100-SXM", count=4),
    "vllm-two-nodes": release("vllm", "H100-SXM", count=16, pipeline=2),
    "sglang-two-nodes": release("sglang", "H200-SXM", count=16),
    "vllm-mi300x": release("vllm", "MI300X"),
    "sglang-mi325x": release("sglang", "MI325X", count=2),
    "tgi-l4": release("tgi", "L4"),
    "tensorrt-llm-a100": release("tensorrt-llm", "A100-SXM-80GB", count=4),
    "neuron-inferentia": release("neuron", "Inferentia2", count=2),
    "vllm-tpu": release("vllm", "TPU-v5e", count=4),
    "llama.cpp-epyc": release("llama.cpp", "EPYC-9654", weights="model-Q8_0.gguf"),
    "llama.cpp-l40s": release("llama.cpp", "L40S", weights="model-Q8_0.gguf"),
    "openvino-xeon": release("openvino", "Xeon-SPR"),
}
