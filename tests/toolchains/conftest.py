"""What tests of heavy toolchains share: the real model as a folder, made once."""

import asyncio
from pathlib import Path

import pytest
from toolchains.benches import bench

from executors.compress.compress import compress
from executors.texts import Texts


@pytest.fixture(scope="session")
def folder(shipped: Path, halves: Texts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as a folder of safetensors, under a root of its own; whoever changes it takes a copy."""
    target = tmp_path_factory.mktemp("models") / "SmolLM2-folder"
    tools = bench("transformers", tmp_path_factory.mktemp("log"))
    asyncio.run(compress("safetensors", shipped, target, calibration=halves.calibration, bench=tools))
    return target
