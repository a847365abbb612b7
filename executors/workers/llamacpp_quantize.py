"""Writes a GGUF in another weight format with llama.cpp's own quantizer, as built into cyllama.

Request: `source`, `target`, `ftype` (number of `enum llama_ftype`), `requantize`, `importance` (.npz or null),
`overrides` (`enum ggml_type` by pattern of tensor names), `threads`. Result: `tensors`, `weighted`.

cyllama exposes the quantizer's parameters but not the pointers to an importance matrix and to types of single tensors.
The C structure lies inside the Python object, so `find_params` looks for it by values set through the public attributes
and refuses the object where any known field does not read back as set.
"""

import ctypes
import re
import sys

import numpy as np
from cyllama.llama import llama_cpp
from protocol import Channel, WorkerError, serve

COUNTER = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
SENTINEL = 0x1F2E3D4C


class ImatrixData(ctypes.Structure):
    """`struct llama_model_imatrix_data`; a NULL name ends the array (llama-quant.cpp)."""

    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t))


class TensorOverride(ctypes.Structure):
    """`struct llama_model_tensor_override`; a NULL pattern ends the array (llama-quant.cpp)."""

    _fields_ = (("pattern", ctypes.c_char_p), ("type", ctypes.c_int))


class QuantizeParams(ctypes.Structure):
    """`struct llama_model_quantize_params` at build b9190."""

    _fields_ = (
        ("nthread", ctypes.c_int32),
        ("ftype", ctypes.c_int),
        ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int),
        ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool),
        ("only_copy", ctypes.c_bool),
        ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool),
        ("dry_run", ctypes.c_bool),
        ("imatrix", ctypes.POINTER(ImatrixData)),
        ("kv_overrides", ctypes.c_void_p),
        ("tt_overrides", ctypes.POINTER(TensorOverride)),
        ("prune_layers", ctypes.c_void_p),
    )


READABLE = tuple(name for name, kind in QuantizeParams._fields_ if kind in {ctypes.c_int32, ctypes.c_int})
FLAGS = tuple(name for name, kind in QuantizeParams._fields_ if kind is ctypes.c_bool)
POINTERS = ("imatrix", "kv_overrides", "tt_overrides", "prune_layers")


def find_params(params: object) -> QuantizeParams:
    """The C structure inside cyllama's parameter object, its pointers still NULL.

    Raises:
        WorkerError: `tool_failed` where it is not found exactly once, or a field does not read back as set.
    """
    base, size = id(params), type(params).__basicsize__
    kept = params.nthread
    params.nthread = SENTINEL
    raw = ctypes.string_at(base, size)
    first = raw.find(SENTINEL.to_bytes(4, sys.byteorder))
    fits = first >= 0 and first % 8 == 0 and first + ctypes.sizeof(QuantizeParams) <= size
    params.nthread = kept
    if not fits:
        raise WorkerError("tool_failed", "cyllama's quantizer parameters are not laid out as in the pinned build")
    inner = QuantizeParams.from_address(base + first)
    agree(inner, params)
    for flag in FLAGS:  # a field that moved by one byte would show in the other state, not in this one
        original = getattr(params, flag)
        setattr(params, flag, not original)
        agree(inner, params)
        setattr(params, flag, original)
    agree(inner, params)
    return inner


def agree(inner: QuantizeParams, params: object) -> None:
    """Refuse a structure that reads otherwise than cyllama's own attributes.

    Raises:
        WorkerError: `tool_failed`.
    """
    wrong = [name for name in READABLE + FLAGS if getattr(inner, name) != getattr(params, name)]
    wrong += [name for name in POINTERS if getattr(inner, name)]
    if wrong:
        raise WorkerError("tool_failed", f"cyllama's {wrong[0]} does not read back as set: not the pinned build")


def load_importance(path: str) -> tuple[ctypes.Array, list[np.ndarray]]:
    """The matrix as llama.cpp reads it, with the arrays that own its numbers."""
    with np.load(path, allow_pickle=False) as stored:
        owners = [np.ascontiguousarray(stored[name], dtype=np.float32) for name in stored.files]
        names = [name.encode() for name in stored.files]
    table = (ImatrixData * (len(names) + 1))()
    for row, name, values in zip(table, names, owners, strict=False):  # the last row stays NULL and ends the table
        row.name = name
        row.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        row.size = values.size
    return table, owners


def quantize(request: dict[str, object], channel: Channel) -> None:
    """Run the quantizer, its own counter as progress."""
    params = llama_cpp.LlamaModelQuantizeParams()
    params.nthread = request["threads"]
    params.ftype = request["ftype"]
    params.allow_requantize = request["requantize"]
    table, owners = load_importance(request["importance"]) if request["importance"] else (None, [])
    overrides = request["overrides"]
    types = (TensorOverride * (len(overrides) + 1))()  # the last row stays NULL and ends the table
    for row, (pattern, kind) in zip(types, overrides.items(), strict=False):
        row.pattern, row.type = pattern.encode(), kind
    if table is not None or overrides:
        inner = find_params(params)
        if table is not None:
            inner.imatrix = table
        if overrides:
            inner.tt_overrides = types
    seen: list[str] = []
    done = total = 0

    def listen(_: object, text: str) -> None:
        nonlocal done, total
        seen.append(text)
        sys.stderr.write(text)
        counter = COUNTER.search(text)
        if counter:
            done, total = int(counter[1]), int(counter[2])
            channel.progress(done, total, "tensors")

    llama_cpp.set_log_callback(listen)
    try:
        llama_cpp.model_quantize(request["source"], request["target"], params)
    except RuntimeError as error:
        raise explain("".join(seen)) from error
    if owners and f"importance matrix data with {len(owners)} entries" not in "".join(seen):
        raise WorkerError("tool_failed", "the quantizer did not take the importance matrix: not the pinned build")
    channel.send("result", tensors=total, weighted=len(owners))


def explain(log: str) -> WorkerError:
    """What the quantizer's log says about a failure."""
    if "iostream error" in log:
        return WorkerError("disk_full", "the quantized file could not be written: no room, a quota or a size limit")
    reason = next(
        (line for line in reversed(log.splitlines()) if "failed" in line or "error" in line), "no reason given"
    )
    code = "unreadable_model" if "load" in reason or "tensor" in reason or "gguf" in reason else "tool_failed"
    return WorkerError(code, f"llama.cpp's quantizer refused the model ({reason.split(': ', 1)[-1].strip()})")


if __name__ == "__main__":
    sys.exit(serve(quantize))
