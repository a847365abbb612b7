"""The engines that serve on this machine, by name."""

from executors.serve import ctranslate2, llamacpp, onnxruntime, openvino, vllm
from executors.serve.engine import Engine
from schemas.error import AgentError, ErrorCode

_ALL = (llamacpp.ENGINE, vllm.ENGINE, onnxruntime.ENGINE, openvino.ENGINE, ctranslate2.ENGINE)
ENGINES: dict[str, Engine] = {one.name: one for one in _ALL}


def engine(name: str) -> Engine:
    """One engine.

    Raises:
        AgentError: `not_available`, with the names there are.
    """
    found = ENGINES.get(name)
    if found is None:
        raise AgentError(ErrorCode.NOT_AVAILABLE, f"{name} is not run here; these are: {', '.join(ENGINES)}")
    return found
