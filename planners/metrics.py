"""Metrics of quality as publications name them; perplexity, or the kind of task, out."""

_TASKS = (("ppl", "ppl"), ("perplex", "ppl"), ("delta_p", "delta-p"), ("gsm", "gsm8k"), ("mmlu", "mmlu"))


def quality_metric(name: str) -> str:
    """`ppl` for perplexities, else the kind of task whose score it is; averages over many tasks are `average`."""
    low = name.lower()
    return next((kind for part, kind in _TASKS if part in low), "average")
