"""llama.cpp's C API by ctypes, over the library inside the xllamacpp wheel; standard library and numpy only.

Only what the workers call is declared. Structures are those of `include/llama.h`, `ggml/include/ggml.h` at build
b11549, the one xllamacpp 2026.10.11549 is made from; `Library` compares them with the defaults the library returns and
refuses a build in which they moved.
"""

import ctypes
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from importlib.util import find_spec
from pathlib import Path

from protocol import WorkerError

EvalCallback = CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)
LogCallback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
ERROR = 4  # enum ggml_log_level


class ModelParams(Structure):
    """`struct llama_model_params`."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(Structure):
    """`struct llama_context_params`."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", EvalCallback),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class Batch(Structure):
    """`struct llama_batch`."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class Tensor(Structure):
    """`struct ggml_tensor`."""


Tensor._fields_ = (  # a structure that points at itself is declared in two steps
    ("type", c_int),
    ("buffer", c_void_p),
    ("ne", c_int64 * 4),
    ("nb", c_size_t * 4),
    ("op", c_int),
    ("op_params", c_int32 * 16),
    ("flags", c_int32),
    ("src", POINTER(Tensor) * 10),
    ("view_src", c_void_p),
    ("view_offs", c_size_t),
    ("data", c_void_p),
    ("name", c_char * 64),
    ("extra", c_void_p),
    ("padding", c_char * 8),
)

SIGNATURES = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LogCallback, c_void_p)),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "llama_batch_init": (Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (Batch,)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits": (POINTER(c_float), (c_void_p,)),
    "ggml_get_name": (c_void_p, (c_void_p,)),
    "ggml_get_data": (c_void_p, (c_void_p,)),
    "ggml_op_desc": (c_char_p, (c_void_p,)),
}

# What llama_model_default_params and llama_context_default_params set at build b11549. Between them they lie on every
# side of what could move: a field more or less anywhere shifts at least one of them.
MODEL_DEFAULTS = {
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "kv_overrides": None,
    "check_tensors": False,
    "use_extra_bufts": True,
    "no_host": False,
    "load_mtp": False,
}
CONTEXT_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max_per_seq": 1,
    "flash_attn_type": -1,
    "rope_scaling_type": -1,
    "yarn_ext_factor": -1.0,
    "defrag_thold": -1.0,
    "type_k": 1,
    "type_v": 1,
    "moe_cache_size": 0,
    "abort_callback": None,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
    "kv_unified": False,
    "n_samplers": 0,
    "ctx_other": None,
}


def check_layout(params: Structure, expected: dict[str, object]) -> None:
    """Refuse a structure whose fields do not read back as the header of the pinned build says.

    Raises:
        WorkerError: `tool_failed`.
    """
    for field, value in expected.items():
        found = getattr(params, field)
        if found != value:
            raise WorkerError(
                "tool_failed",
                f"llama.cpp's {type(params).__name__}.{field} reads {found}, not {value}: this is another build than "
                "the pinned one; reinstall the llamacpp toolchain",
            )


class Library:
    """The loaded library; its functions as attributes with their C names."""

    def __init__(self) -> None:
        spec = find_spec("xllamacpp")
        files = sorted(Path(spec.origin).parent.glob("xllamacpp*.so")) if spec and spec.origin else []
        if not files:
            raise WorkerError("toolchain_missing", "xllamacpp is not in this toolchain; reinstall it")
        self._library = ctypes.CDLL(str(files[0]))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        self.complaint = ""
        self._log = LogCallback(self._listen)  # kept alive as long as the library may call it
        self.llama_log_set(self._log, None)
        self.llama_backend_init()
        check_layout(self.llama_model_default_params(), MODEL_DEFAULTS)
        check_layout(self.llama_context_default_params(), CONTEXT_DEFAULTS)

    def _listen(self, level: int, text: bytes, _: object) -> None:
        """Pass the library's words on to the log, and keep its first complaint: the rest follow from it."""
        line = text.decode(errors="replace")
        sys.stderr.write(line)
        if level == ERROR and not self.complaint:
            self.complaint = line.split(": ", 1)[-1].strip()

    def check_tensor(self, address: int, tensor: Tensor) -> None:
        """Refuse a tensor structure that disagrees with the library's own accessors.

        Raises:
            WorkerError: `tool_failed`.
        """
        name_at = address + Tensor.name.offset
        if self.ggml_get_name(address) != name_at or self.ggml_get_data(address) != tensor.data:
            raise WorkerError("tool_failed", "ggml_tensor is laid out differently in this build of llama.cpp")
