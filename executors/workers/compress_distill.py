"""Teaches a student of fewer layers by its teacher's logits; goes on from where an ended run last saved its state.

Request as `CompressRequest`; `parameters`: `kept_share` of the layers, `rate` of learning. The student begins as evenly
spaced layers of the teacher. A quarter of the calibration rows is held out: `kl_before` and `kl_after`, nats per token,
are measured there. The folder gets the loss of each step as `loss_curve.csv`.
"""

import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from calibration import rows
from hf_folder import copy_tokenizer, make_portable
from protocol import Channel, peak_bytes, serve
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoModelForCausalLM, PreTrainedModel

HELD_OUT = 4
SAVE_EVERY = 10
WARM_UP = 10
CLIP = 1.0
STATE = "student.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")
HALVES = 2


class Lesson(NamedTuple):
    """Who learns from whom, on what: rows to learn from and rows held out, [1, tokens] each."""

    teacher: PreTrainedModel
    student: PreTrainedModel
    learned: list[torch.Tensor]
    held_out: list[torch.Tensor]


def open_teacher(source: Path) -> PreTrainedModel:
    """The model whose logits are the lesson."""
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return model.eval().requires_grad_(requires_grad=False)


def make_student(teacher: PreTrainedModel, share: float) -> PreTrainedModel:
    """A model of `share` of the teacher's layers, evenly spaced, the first and the last among them."""
    total = teacher.config.num_hidden_layers
    count = max(2, round(total * share))
    config = type(teacher.config).from_dict(teacher.config.to_dict() | {"num_hidden_layers": count})
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
    student = type(teacher)(config).float()
    chosen = [round(index * (total - 1) / (count - 1)) for index in range(count)]
    weights = teacher.state_dict()
    for name in student.state_dict():
        before, found, after = name.partition(".layers.")
        if found:
            index, _, rest = after.partition(".")
            weights[name] = teacher.state_dict()[f"{before}.layers.{chosen[int(index)]}.{rest}"]
    student.load_state_dict({name: weights[name] for name in student.state_dict()})
    student.tie_weights()
    return student


def divergence(lesson: Lesson, row: torch.Tensor) -> torch.Tensor:
    """KL(teacher ‖ student), nats per token, on one row."""
    with torch.no_grad():
        wanted = log_softmax(lesson.teacher(input_ids=row, use_cache=False).logits[0], dim=-1)
    said = log_softmax(lesson.student(input_ids=row, use_cache=False).logits[0], dim=-1)
    return kl_div(said, wanted, reduction="batchmean", log_target=True)


def examine(lesson: Lesson) -> float:
    """Mean divergence over the rows held out."""
    with torch.no_grad():
        return sum(float(divergence(lesson, row)) for row in lesson.held_out) / len(lesson.held_out)


def rate(step: int, steps: int) -> float:
    """Share of the learning rate at `step`: a linear warm-up, then half a cosine down to a tenth."""
    return min(1.0, (step + 1) / WARM_UP) * (0.1 + 0.9 * (1 + math.cos(math.pi * step / steps)) / HALVES)


def save(folder: Path, lesson: Lesson, optimizer: torch.optim.Optimizer, notes: dict[str, str]) -> None:
    """Keep all that is needed to go on, whole or not at all."""
    tensors = {}
    for name, weight in lesson.student.named_parameters():
        tensors[name] = weight.detach()
        for moment in MOMENTS:
            tensors[f"{moment}/{name}"] = optimizer.state[weight][moment]
    partial = folder / f"{STATE}.partial"
    save_file(tensors, partial, metadata=notes)
    partial.replace(folder / STATE)


def restore(folder: Path, lesson: Lesson, optimizer: torch.optim.Optimizer, task: str) -> list[float]:
    """Losses of the steps done already, student and optimizer as they were then; none where nothing fits this task."""
    if not (folder / STATE).is_file():
        return []
    with safe_open(folder / STATE, framework="pt") as stored:
        notes = stored.metadata()
        if notes["task"] != task:
            return []
        curve = json.loads(notes["curve"])
        with torch.no_grad():
            for name, weight in lesson.student.named_parameters():
                weight.copy_(stored.get_tensor(name))
                state = {moment: stored.get_tensor(f"{moment}/{name}") for moment in MOMENTS}
                optimizer.state[weight] = {"step": torch.tensor(float(len(curve))), **state}
    return curve


def compress(request: dict[str, object], channel: Channel) -> None:
    """Teach, examine, save."""
    torch.set_num_threads(request["threads"])
    source, target, state = (Path(request[name]) for name in ("source", "target", "state"))
    state.mkdir(parents=True, exist_ok=True)
    settings, steps = dict(request["parameters"]), request["steps"]
    found = [torch.tensor([row]) for row in rows(request)]
    held = max(1, len(found) // HELD_OUT)
    teacher = open_teacher(source)
    lesson = Lesson(teacher, make_student(teacher, settings["kept_share"]), found[held:] or found, found[:held])
    before = examine(lesson)
    optimizer = torch.optim.AdamW(lesson.student.parameters(), lr=settings["rate"], weight_decay=0.0)
    told = {name: request[name] for name in ("source", "calibration", "samples", "tokens", "steps", "parameters")}
    task = json.dumps(told, sort_keys=True)
    curve = restore(state, lesson, optimizer, task)
    settings["resumed_at_step"] = len(curve)
    for step in range(len(curve), steps):
        for group in optimizer.param_groups:
            group["lr"] = settings["rate"] * rate(step, steps)
        loss = divergence(lesson, lesson.learned[step % len(lesson.learned)])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lesson.student.parameters(), CLIP)
        optimizer.step()
        curve.append(float(loss.detach()))
        channel.progress(len(curve), steps, f"steps, divergence {curve[-1]:.2f} nats")
        if len(curve) % SAVE_EVERY == 0:
            save(state, lesson, optimizer, {"task": task, "curve": json.dumps(curve)})
    after = examine(lesson)
    settings |= {"steps": steps, "kl_before": before, "kl_after": after}
    settings["student_layers"] = lesson.student.config.num_hidden_layers
    lesson.student.to(torch.float16).save_pretrained(target)
    lines = "".join(f"{step},{loss}\n" for step, loss in enumerate(curve, 1))
    (target / "loss_curve.csv").write_text("step,kl_nats_per_token\n" + lines, encoding="utf-8")
    copy_tokenizer(source, target)
    make_portable(target)
    read = sum(row.numel() for row in found)
    channel.send("result", calibration_tokens=read, parameters=settings, curve=curve, peak_bytes=peak_bytes())


if __name__ == "__main__":
    sys.exit(serve(compress))
