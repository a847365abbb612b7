"""A choice in, what to do about it out: steps with their executors, hand-offs to peers, how to undo it."""

from schemas.command import Mode
from schemas.delegation import Peer
from schemas.plan import Candidate, PlannedHandoff, Step, StepKind, Strategy

_COMPRESSORS = {
    "GPTQ-INT4": "compress.llmcompressor",
    "AWQ-INT4": "compress.llmcompressor",
    "W8A8": "compress.llmcompressor",
    "FP8": "compress.llmcompressor",
    "NVFP4": "compress.llmcompressor",
    "SPARSE24-FP8": "compress.llmcompressor",
    "NF4": "compress.bitsandbytes",
}
_LIBRARIES = {"onnxruntime": "compress.onnxruntime", "openvino": "compress.openvino"}
_LIBRARIES |= {"tensorrt-llm": "compress.modelopt"}
_LIBRARIES |= {"ctranslate2": "compress.ctranslate2", "neuron": "compress.neuron", "llama.cpp": "compress.gguf"}
_WHOLE = frozenset({"BF16", "F16", "FP32"})


def steps_of(
    mode: Mode, baseline: Candidate, chosen: tuple[Candidate, ...], *, native: str, host: bool
) -> tuple[Step, ...]:
    """The job, phase by phase. Elsewhere than on this host only the first choice is carried out.

    `native` is the format that the model is published in: nothing is compressed to it.
    """
    tried = chosen if host else chosen[:1]
    if not tried:
        return ()
    steps = [
        Step(
            name="baseline",
            phase=StepKind.BASELINE,
            executor=f"serve.{baseline.strategy.engine}",
            detail=f"serve the untouched model ({baseline.strategy.label}), load-test it and score the evaluation text",
        )
    ]
    for candidate in tried:
        steps += _trial(candidate.strategy, untouched=candidate.strategy.weight_format in {native, *_WHOLE})
    if mode is Mode.DEPLOY:
        detail = "move traffic in shares while the gate's figures hold; the baseline stays warm until the end"
        steps.append(Step(name="rollout", phase=StepKind.DEPLOYMENT, executor="deploy.rollout", detail=detail))
    return tuple(steps)


def _trial(strategy: Strategy, *, untouched: bool) -> list[Step]:
    found, form = [], strategy.weight_format
    if strategy.importance_matrix:
        detail = "run calibration text through the untouched model and keep the squared activations"
        found.append(_step("importance matrix", StepKind.OPTIMIZATION, "compress.importance_matrix", detail))
    if not untouched:
        tool = _LIBRARIES.get(strategy.engine) or _COMPRESSORS.get(form, "compress.llmcompressor")
        found.append(_step(f"compress {form}", StepKind.OPTIMIZATION, tool, f"write the weights as {form}"))
    if not untouched or strategy.kv_format != "FP16":
        gate = "score the evaluation text against the baseline on the same tokens; the loss's upper end must be within"
        found.append(_step(f"gate {form}", StepKind.VALIDATION, "measure.gate", f"{gate} the limit"))
    serve = f"start {strategy.label} and load-test it at the plan's workload"
    found.append(_step(f"measure {form}", StepKind.VALIDATION, f"serve.{strategy.engine}", serve))
    return found


def _step(name: str, phase: StepKind, executor: str, detail: str) -> Step:
    return Step(name=name, phase=phase, executor=executor, detail=detail)


def handoffs_of(
    mode: Mode, chosen: tuple[Candidate, ...], max_loss: float, *, feasible: bool, host: bool
) -> tuple[PlannedHandoff, ...]:
    """Which peers get work, what, and what they should deliver."""
    found: list[tuple[Peer, str, tuple[str, ...]]] = []
    if feasible and chosen and not host:
        first = chosen[0].strategy
        machines = f"{first.replicas} x {first.count} {first.accelerator}"
        draft = f" and the weights of {first.draft}, which drafts for it" if first.draft else ""
        found.append((Peer.DEVOPS, f"provide {machines} with {first.engine}{draft}", ("address", "price per hour")))
    if feasible and mode is Mode.DEPLOY:
        found.append((Peer.DEVOPS, "route the service's traffic by the rollout's shares", ("routes",)))
    if any(candidate.prediction.quality_loss.high > max_loss for candidate in chosen):
        found.append((Peer.AI_ML, "evaluate the shortlisted formats on the users' own tasks", ("task scores",)))
    if not feasible:
        found.append((Peer.AI_ML, "propose a smaller model that does the same work", ("model name",)))
        work = "say whether training can recover the quality that a smaller format loses"
        found.append((Peer.FINE_TUNING, work, ("estimate", "cost")))
    if host and feasible:
        work = "pin the engine's threads and set the governor before the final measurement"
        found.append((Peer.SYSTEMS, work, ("settings",)))
    return tuple(PlannedHandoff(peer=peer, work=work, deliverables=wanted) for peer, work, wanted in found)


def undo_of(baseline: Candidate, chosen: tuple[Candidate, ...]) -> str:
    """How to get back to where things were."""
    if not chosen:
        return "Nothing is changed."
    if chosen[0].strategy == baseline.strategy:
        return "Nothing is changed: the untouched model is the choice."
    return (
        f"Route traffic back to the baseline ({baseline.strategy.label}), which stays installed with its weights "
        "unchanged, then stop the new engine and delete its compressed weights."
    )
