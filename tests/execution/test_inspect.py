"""A model folder is looked through before any tool opens it: what could run code or is not sound is refused, typed."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from execution.folders import TOKENIZER, header_of, weights, write_model, write_safetensors

from executors.compress.compress import compress
from executors.compress.inspect import inspect
from executors.toolchain import Toolchain, specification
from executors.worker import Workbench
from schemas.artifact import Text
from schemas.error import AgentError, ErrorCode

UNSAFE, UNREADABLE, UNSUPPORTED = ErrorCode.UNSAFE_MODEL, ErrorCode.UNREADABLE_MODEL, ErrorCode.UNSUPPORTED


def rewrite(folder: Path, name: str, **fields: object) -> None:
    """Change fields of a JSON file."""
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | fields))


def reshape(folder: Path, **fields: object) -> None:
    """Change what the header says of one tensor."""
    tensors = weights()
    header = header_of(tensors)
    header["model.embed_tokens.weight"].update(fields)
    write_safetensors(folder / "model.safetensors", header, b"".join(map(bytes, tensors.values())))


def damage(folder: Path, value: float) -> None:
    """Put one value that is no number into the weights."""
    tensors = weights()
    tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = value
    write_model(folder, tensors)


def cut(folder: Path) -> None:
    """Take the last bytes of the weights away."""
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size - 1)


def forget_layer(folder: Path) -> None:
    """Leave the second layer's weights out."""
    write_model(folder, {name: values for name, values in weights().items() if ".layers.1." not in name})


def test_a_sound_folder_is_described(tmp_path: Path) -> None:
    """Parameters, layers and format come from the weights themselves; no group of 32 divides a width of 8."""
    seen = inspect(write_model(tmp_path / "model"))
    assert seen.parameters == sum(values.size for values in weights().values())
    assert (seen.layers, seen.group_size, seen.source_format) == (2, 0, "F16")


BAD: list[tuple[str, Callable[[Path], object], ErrorCode, str]] = [
    ("pickle", lambda f: (f / "pytorch_model.bin").write_bytes(b"\x80\x04"), UNSAFE, "pickled weights"),
    (
        "named safetensors",
        lambda f: (f / "a.safetensors").write_bytes(b"PK\x03\x04" + b"0" * 9),
        UNSAFE,
        "pickled weights",
    ),
    ("code", lambda f: (f / "modeling_x.py").write_text("import os"), UNSAFE, "is code"),
    ("auto_map", lambda f: rewrite(f, "config.json", auto_map={"AutoModel": "x.Y"}), UNSAFE, "auto_map"),
    ("tokenizer's", lambda f: rewrite(f, "tokenizer_config.json", auto_map={}), UNSAFE, "tokenizer_config.json has"),
    ("link", lambda f: (f / "x.json").symlink_to("/etc/hostname"), UNSAFE, "leads out"),
    ("quantized", lambda f: rewrite(f, "config.json", quantization_config={}), UNSUPPORTED, "already quantized"),
    ("vocabulary", lambda f: rewrite(f, "config.json", vocab_size=7), UNREADABLE, r"says \(7, 8\)"),
    ("width", lambda f: rewrite(f, "config.json", intermediate_size=32), UNREADABLE, r"says \(32, 8\)"),
    ("heads", lambda f: rewrite(f, "config.json", num_key_value_heads=2), UNREADABLE, r"says \(8, 8\)"),
    ("layers", lambda f: rewrite(f, "config.json", num_hidden_layers=10**9), UNREADABLE, "says 1000000000 layers"),
    ("no layer", forget_layer, UNREADABLE, "the weights have 1"),
    ("negative", lambda f: rewrite(f, "config.json", hidden_size=-8), UNREADABLE, "hidden_size"),
    ("not JSON", lambda f: (f / "config.json").write_text("{"), UNREADABLE, "config.json cannot be read"),
    ("deep", lambda f: (f / "config.json").write_text("[" * 10**6), UNREADABLE, "config.json cannot be read"),
    ("no config", lambda f: (f / "config.json").unlink(), UNREADABLE, "no readable config.json"),
    ("no weights", lambda f: (f / "model.safetensors").unlink(), UNREADABLE, "holds no safetensors"),
    ("cut", cut, UNREADABLE, "cut short"),
    ("NaN", lambda f: damage(f, np.nan), UNREADABLE, r"layers.1.mlp.up_proj.weight .* not numbers"),
    ("infinite", lambda f: damage(f, np.inf), UNREADABLE, "not numbers"),
    ("shape", lambda f: reshape(f, shape=[6, 9]), UNREADABLE, "does not fit its data"),
    ("beyond", lambda f: reshape(f, data_offsets=[10**9, 10**9 + 96]), UNREADABLE, "ends after the file"),
    ("negative shape", lambda f: reshape(f, shape=[-6, -8]), UNREADABLE, "not what safetensors writes"),
    ("length", lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), UNSAFE, "not safetensors"),
    ("empty", lambda f: (f / "model.safetensors").write_bytes(b""), UNREADABLE, "cut short"),
    (
        "tokenizer",
        lambda f: rewrite(f, "tokenizer.json", added_tokens=[{"id": 6}], **TOKENIZER),
        UNREADABLE,
        "the tokenizer has token 6 and the model only 6",
    ),
    ("no tokenizer", lambda f: (f / "tokenizer.json").unlink(), UNREADABLE, "no readable tokenizer.json"),
]


@pytest.mark.parametrize(("change", "code", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_what_is_not_sound_is_refused(
    tmp_path: Path, change: Callable[[Path], object], code: ErrorCode, words: str
) -> None:
    """Each kind of bad folder is one typed sentence that names the file or the number, and nothing is left of it."""
    folder = write_model(tmp_path / "model")
    change(folder)
    bench = Workbench(Toolchain(specification("transformers"), tmp_path / "nowhere"), 1, tmp_path / "log")
    text = Text(name="text", path=Path("text"), sha256="0" * 64)
    with pytest.raises(AgentError, match=words) as caught:
        await compress("ct2-int8", folder, tmp_path / "out", calibration=text, bench=bench)
    assert caught.value.code is code
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_bfloat16_is_looked_through_too(tmp_path: Path) -> None:
    """NaN in bfloat16, which numpy does not know, is found by its bits."""
    tensors = weights()
    header = header_of(tensors)
    for entry in header.values():
        entry["dtype"] = "BF16"
    folder = write_model(tmp_path / "model")
    data = bytearray(b"".join(map(bytes, tensors.values())))
    write_safetensors(folder / "model.safetensors", header, bytes(data))
    assert inspect(folder).source_format == "BF16"
    data[-2:] = b"\xc0\x7f"
    write_safetensors(folder / "model.safetensors", header, bytes(data))
    with pytest.raises(AgentError, match="not numbers"):
        inspect(folder)
