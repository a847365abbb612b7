"""A name finds a model under a root; nothing that a message says becomes a path."""

from pathlib import Path

import pytest

from executors.models import locate, names
from schemas.error import AgentError, ErrorCode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one GGUF file and a secret beside the root."""
    root = tmp_path / "models"
    (root / "folder").mkdir(parents=True)
    (root / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF and more")
    (tmp_path / "secret.gguf").write_bytes(b"GGUF secret")
    return root


@pytest.mark.parametrize(
    "name",
    [
        "SmolLM2-135M-Instruct",
        "smollm2 135m instruct",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "SmolLM2-135M-Instruct.Q4_1",
    ],
)
def test_a_model_is_found_by_the_names_people_use(root: Path, name: str) -> None:
    """Case, separators, the organisation and the quantization suffix do not matter."""
    assert locate(name, [root]) == root / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "%2e%2e/secret", "secret", "--help", "$(id)", "x; touch /tmp/p", "a\0b", ""]
)
def test_no_name_leads_out_of_the_roots(root: Path, name: str) -> None:
    """Traversal, absolute paths, flags and shell words find nothing."""
    assert locate(name, [root]) is None


def test_a_link_out_of_the_root_does_not_count(root: Path) -> None:
    """A symbolic link to a file outside of the root is not a model."""
    (root / "linked.gguf").symlink_to(root.parent / "secret.gguf")
    assert locate("linked", [root]) is None
    assert names([root]) == ("SmolLM2-135M-Instruct",)


def test_a_file_is_known_by_its_magic(root: Path) -> None:
    """A pickle that is called .gguf is refused by its first bytes."""
    (root / "evil.gguf").write_bytes(b"\x80\x04\x95 pickle")
    with pytest.raises(AgentError, match="not a GGUF file") as caught:
        locate("evil", [root])
    assert caught.value.code is ErrorCode.UNREADABLE_MODEL
