"""Models and places for the closed loop: the real model under a root of the test's own, tools from the shared cache."""

import shutil
from pathlib import Path

import pytest
from closing.agent import SMALL
from conftest import CACHE

from executors.texts import Texts
from executors.toolchain import Toolchain
from handlers.workshop import Workshop


@pytest.fixture(scope="session")
def workshop(llamacpp: Toolchain, shipped: Path, halves: Texts, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Tools, texts and one model; small effort, one engine thread."""
    assert llamacpp.python.exists()
    assert halves.calibration.sha256 != halves.evaluation.sha256
    root = tmp_path_factory.mktemp("models")
    shutil.copyfile(shipped, root / shipped.name)
    memory = tmp_path_factory.mktemp("memory")
    return Workshop(cache=CACHE, memory=memory, model_roots=(root,), effort=SMALL)
