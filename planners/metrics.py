"""Metrics of quality as publications name them; perplexity, or the kind of task, out."""

PERPLEXITY = "ppl"
PROBABILITY = "delta-p"
_TASKS = (("ppl", PERPLEXITY), ("perplex", PERPLEXITY), ("delta_p", PROBABILITY), ("gsm", "gsm8k"), ("mmlu", "mmlu"))


def quality_metric(name: str) -> str:
    """`ppl` for perplexities, else the kind of task whose score it is; averages over many tasks are `average`."""
    low = name.lower()
    return next((kind for part, kind in _TASKS if part in low), "average")


def metric_kind(metric: str) -> str:
    """Perplexity, the mean change of tokens' probabilities, or a `task`'s score: each scatters in its own way."""
    return metric if metric in {PERPLEXITY, PROBABILITY} else "task"
