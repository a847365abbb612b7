"""A folder that GPTQModel made, loaded by GPTQModel with its plain torch kernel on a CPU, which wants float16."""

import os
from pathlib import Path

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # read when it is imported; with fewer it does not start
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling takes longer than running, and wants a compiler

import engine_transformers
import torch
from gptqmodel import BACKEND, GPTQModel
from transformers import PreTrainedModel


class Model(engine_transformers.Model):
    """As in transformers, in float16 and with GPTQModel's own layers."""

    def load(self, folder: Path) -> PreTrainedModel:
        """The folder's model on the CPU."""
        made = GPTQModel.load(
            str(folder), device="cpu", backend=BACKEND.TORCH, dtype=torch.float16, trust_remote_code=False
        )
        return made.model
