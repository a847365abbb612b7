"""Runs tasks of EleutherAI's lm-evaluation-harness on one model, offline; each item's scores out.

Request: `tasks` (each `name`, `splits`: files of items by split), `definitions` (folder with task files of our own),
`folder` (a Hugging Face folder) or `endpoint` (`url`, and `model`, its name there), `items` (of each task at most),
`n_ctx`, `threads`. Result lines: event `item` with `task`, `item` (its number), `scores` by metric. A task of that name
is taken from our own folder or from the harness itself; its items come from the files alone.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import bars
import lm_eval.utils
import requests
import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from protocol import Channel, WorkerError, serve

TIMEOUT_S = 30


class ServersTokens(lm_eval.utils.RemoteTokenizer):
    """The harness's own, content with a server that does not tell what ends a text, as vLLM does only when asked to."""

    def _validate_server(self) -> None:
        answer = requests.get(f"{self.base_url}/tokenizer_info", timeout=TIMEOUT_S)
        self._tokenizer_info = answer.json() if answer.ok else {}


lm_eval.utils.RemoteTokenizer = ServersTokens

RENAMED = {"perplexity": "loglikelihood"}
"""What the harness keeps of an item under the name of what it makes of all of them."""


def model_of(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The harness's name for a kind of model, and what it is told."""
    if request["endpoint"]:
        return "local-completions", {
            "base_url": f"{request['endpoint']['url']}/v1/completions",
            "model": request["endpoint"]["model"],
            "tokenizer_backend": "remote",
            "tokenized_requests": True,
            "max_length": request["n_ctx"],
            "num_concurrent": 1,
        }
    told = {"pretrained": request["folder"], "device": "cpu", "dtype": "float32", "max_length": request["n_ctx"]}
    return "hf", told | {"trust_remote_code": False}


def define(task: dict[str, Any], manager: TaskManager, folder: Path) -> str:
    """A definition file like the one of that name, but reading the files that hold the items here.

    Raises:
        WorkerError: `unsupported` where the harness has no such single task.
    """
    name = task["name"]
    known = manager.task_index.get(name)
    if known is None or known.yaml_path is None or name not in manager.all_subtasks:
        raise WorkerError("unsupported", f"lm-eval has no task {name!r} that is defined by one file")
    data = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": task["splits"]}}
    path = folder / f"{name}.yaml"
    path.write_text(
        json.dumps({"include": str(known.yaml_path), "task": name, **data}), encoding="utf-8"
    )  # JSON is YAML
    return str(path)


def run(request: dict[str, Any], channel: Channel) -> None:
    """Evaluate, and tell each item."""
    bars.listen(channel)
    torch.set_num_threads(request["threads"])
    kind, told = model_of(request)
    manager = TaskManager(include_path=request["definitions"])
    with tempfile.TemporaryDirectory() as folder:
        wanted = [define(task, manager, Path(folder)) for task in request["tasks"]]
        try:
            found = simple_evaluate(
                model=kind,
                model_args=told,
                tasks=wanted,
                task_manager=manager,
                limit=request["items"],
                batch_size=1,
                bootstrap_iters=0,
                log_samples=True,
            )
        except (ValueError, KeyError, AssertionError, RuntimeError) as error:
            raise WorkerError("tool_failed", f"lm-eval cannot run {', '.join(wanted)}: {error}") from error
    for name, samples in found["samples"].items():
        for sample in samples:
            scores = {RENAMED.get(key, key): sample[key] for key in sample["metrics"]}
            channel.send("item", task=name, item=sample["doc_id"], scores=scores)


if __name__ == "__main__":
    sys.exit(serve(run))
