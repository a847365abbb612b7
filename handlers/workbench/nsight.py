"""A strategy in, the command line out that profiles it on a host with NVIDIA GPUs; rendered here, not run."""

import shlex

from planners.launch import launch_of
from schemas.hardware import Accelerator
from schemas.model import ModelFacts
from schemas.plan import Strategy

SERVERS = {
    "llama.cpp": ("llama-server", "-m", "MODEL"),
    "vllm": ("vllm", "serve", "MODEL"),
    "sglang": ("python", "-m", "sglang.launch_server", "--model-path", "MODEL"),
    "tensorrt-llm": ("trtllm-serve", "MODEL"),
    "tgi": ("text-generation-launcher", "--model-id", "MODEL"),
}
"""How each engine's own server is started; the arguments of a strategy follow."""
FLAGS = ("--trace=cuda,nvtx,osrt", "--sample=process-tree", "--delay=60", "--duration=10", "--output=engine")
"""Of `nsys profile` (Nsight Systems user guide, CLI): ten seconds once the engine is ready and under load."""


def nsight(strategy: Strategy, model: ModelFacts, accelerator: Accelerator) -> str:
    """A sentence with the command; empty for libraries without a server of their own."""
    server, launch = SERVERS.get(strategy.engine), launch_of(strategy, model, accelerator)
    if server is None or launch is None:
        return ""
    command = shlex.join(("nsys", "profile", *FLAGS, *server, *launch.arguments))
    return f"On a host with NVIDIA GPUs, Nsight Systems shows kernels and copies: {command}"
