"""A name finds a model under a root; nothing that a message says becomes a path."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest

from executors.models import description, locate, names
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


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (pickle.dumps({}), ErrorCode.UNSAFE_MODEL),
        (b"PK\x03\x04 archive/data.pkl", ErrorCode.UNSAFE_MODEL),
        (b"hello", ErrorCode.UNREADABLE_MODEL),
    ],
    ids=["pickle", "zip", "text"],
)
def test_t06_a_file_is_known_by_its_magic(root: Path, content: bytes, code: ErrorCode) -> None:
    """What is called .gguf and is something else is refused by its first bytes."""
    (root / "evil.gguf").write_bytes(content)
    with pytest.raises(AgentError, match="put a GGUF file in its place") as caught:
        locate("evil", [root])
    assert caught.value.code is code


class Canary:
    """Whoever unpickles it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.file, "sang"))


def _safetensors(folder: Path) -> Path:
    """A folder as it should be: weights in safetensors and a configuration."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    (folder / "config.json").write_text('{"model_type":"llama"}')
    (folder / "tokenizer.json").write_text('{"model":{"vocab":{"auto_map":1}}}')
    return folder


def test_a_folder_of_safetensors_is_safe_and_no_gguf_file(root: Path) -> None:
    """It is neither refused nor, so far, a model that can be carried out."""
    _safetensors(root / "Tiny-1B")
    assert locate("org/tiny-1b", [root]) is None


NAMES = ["pytorch_model.bin", "weights.pt", "last.CKPT", "model.safetensors"]


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        *((name, protocol) for name in (*NAMES, "sub/deep.dat", "Tiny-1B.gguf") for protocol in (2, 5, None)),
        *((name, 0) for name in NAMES),  # has no magic: known by its name, or by not being what it says
    ],
)
def test_t06_a_folder_with_pickled_weights_is_refused_unread(root: Path, name: str, protocol: int | None) -> None:
    """Of whatever name and protocol, also within a zip file: unsafe_model, and the canary in it never sings."""
    canary = root.parent / "canary"
    file = _safetensors(root / "Tiny-1B") / name
    file.parent.mkdir(exist_ok=True)
    if protocol is None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Canary(canary)))
    else:
        file.write_bytes(pickle.dumps(Canary(canary), protocol))
    with pytest.raises(AgentError, match=file.name) as refused:
        locate("Tiny-1B", [root])

    assert refused.value.code is ErrorCode.UNSAFE_MODEL
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # noqa: S301 - to show that it would have been heard
    assert canary.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    "text",
    [
        '{"auto_map":{"AutoModel":"canary.Model"}}',
        '{"text_config":{"auto_map":{"AutoModel":"canary.Model"}}}',
        '{"auto_map":{"AutoModel":"canary.Model"},"auto_map":null}',
        '{"auto\\u005fmap":{"AutoModel":"canary.Model"}}',
    ],
    ids=["plain", "nested", "hidden", "escaped"],
)
def test_t07_a_folder_that_maps_code_is_refused_and_its_module_never_runs(root: Path, name: str, text: str) -> None:
    """An auto_map in any configuration, however it is written: unsafe_model, and the module is not imported."""
    folder = _safetensors(root / "Tiny-1B")
    (folder / name).write_text(text)
    canary = root.parent / "canary"
    (folder / "canary.py").write_text(f"open({str(canary)!r}, 'w').write('sang')\n")
    with pytest.raises(AgentError, match="auto_map") as refused:
        locate("Tiny-1B", [root])

    assert refused.value.code is ErrorCode.UNSAFE_MODEL
    assert not canary.exists()


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\ud800"], ids=["cut", "deep", "no text"])
def test_t07_a_configuration_that_cannot_be_read_is_refused(root: Path, text: str) -> None:
    """What it maps cannot be known, so the folder is not used."""
    (_safetensors(root / "Tiny-1B") / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(AgentError, match=r"config.json cannot be read") as refused:
        locate("Tiny-1B", [root])
    assert refused.value.code is ErrorCode.UNREADABLE_MODEL


def test_a_folder_is_described_by_its_config(root: Path) -> None:
    """A model without a GGUF file can still be planned for: its folder's name and what its config.json says."""
    (root / "Acme-7B").mkdir()
    (root / "Acme-7B" / "config.json").write_text('{"model_type":"llama","hidden_size":64}')
    assert description("acme 7b", [root]) == ("Acme-7B", {"model_type": "llama", "hidden_size": 64})
    assert description("../Acme-7B/..", [root]) is None
    assert description("folder", [root]) is None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[1]", ErrorCode.UNREADABLE_MODEL),
        ("{", ErrorCode.UNREADABLE_MODEL),
        ('{"auto_map":{"AutoModel":"x.y"}}', ErrorCode.UNSAFE_MODEL),
    ],
)
def test_a_folder_whose_config_is_none_is_refused(root: Path, content: str, code: ErrorCode) -> None:
    """No JSON, no object, or one that would run code."""
    (root / "Acme-7B").mkdir()
    (root / "Acme-7B" / "config.json").write_text(content)
    with pytest.raises(AgentError) as caught:
        description("Acme-7B", [root])
    assert caught.value.code is code
