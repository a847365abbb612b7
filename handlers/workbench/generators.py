"""What puts load on an endpoint of the workbench: prompts of the calibration text, sent by one of two generators."""

import contextlib
from collections.abc import AsyncIterator

from executors import toolchain
from executors.measure import guidellm
from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.guidellm import Guidellm
from executors.measure.load import LoadGenerator
from executors.serve import llamacpp
from executors.serve.engine import Endpoint
from executors.worker import Workbench
from handlers.workbench.bench import Bench
from schemas.error import AgentError, ErrorCode
from schemas.measurement import Generator, LoadSpec

PROMPTS = 32
CHARACTERS_PER_TOKEN = 12
"""More than English text has, so that the prompts never run short."""


@contextlib.asynccontextmanager
async def generator_of(bench: Bench, endpoint: Endpoint, spec: LoadSpec, name: str) -> AsyncIterator[LoadGenerator]:
    """The generator that `spec` asks for; its files are called after `name`.

    Raises:
        AgentError: `toolchain_missing` where guidellm is asked for and not installed; as `prompts_of`.
    """
    prompts = await prompts_of(bench, endpoint, spec.input_tokens, spec.shared_prefix_tokens)
    async with connected(spec.timeout_s) as session:
        built_in = BuiltIn(Client(session, endpoint, prompts, spec.output_tokens))
        if spec.generator is Generator.BUILT_IN:
            yield built_in
            return
        tools = toolchain.find(guidellm.TOOLCHAIN, bench.workshop.cache)
        runs = Workbench(tools, 1, bench.log(f"guidellm-{name}"), limits=bench.workshop.limits)
        yield Guidellm(built_in, timeout_s=spec.timeout_s, bench=runs, folder=bench.job.directory)


async def prompts_of(bench: Bench, endpoint: Endpoint, length: int, shared: int = 0) -> list[list[int]]:
    """Different prompts of `length` tokens each, out of the calibration text; the first `shared` are the same in all.

    Raises:
        AgentError: `unsupported` where the text is shorter than one prompt.
    """
    source = bench.texts.calibration
    text = source.path.read_text(encoding="utf-8")[: PROMPTS * length * CHARACTERS_PER_TOKEN]
    ids = await llamacpp.tokens(endpoint, text)
    shared = min(shared, length - 1)  # a prompt that is wholly another's would be no request of its own
    prefix, own = ids[:shared], length - shared
    starts = range(shared, len(ids) - own + 1, own)
    prompts = [prefix + ids[start : start + own] for start in starts][:PROMPTS]
    if not prompts:
        detail = f"{source.name} is shorter than a prompt of {length} tokens; name a longer text"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return prompts
