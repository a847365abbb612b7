"""One GGUF model in memory, ready to tokenise and to decode chunks; over `libllama`, CPU only."""

from collections.abc import Sequence
from ctypes import c_int32, create_string_buffer
from typing import Self

import numpy as np
from libllama import EvalCallback, Library
from protocol import WorkerError

PIECE_BYTES = 256


class Model:
    """A loaded model with one context of `n_ctx` tokens. Use as a context manager: leaving it frees both."""

    def __init__(
        self, library: Library, path: str, *, n_ctx: int, threads: int, callback: object = None, check: bool = False
    ) -> None:
        self._library = library
        self.n_ctx = n_ctx
        params = library.llama_model_default_params()
        params.n_gpu_layers = 0
        params.check_tensors = check
        self._model = library.llama_model_load_from_file(path.encode(), params)
        if not self._model:
            name = path.rsplit("/", 1)[-1]
            raise WorkerError("unreadable_model", f"llama.cpp cannot load {name} ({library.complaint}); is it whole?")
        self._vocab = library.llama_model_get_vocab(self._model)
        self.vocab_size = int(library.llama_vocab_n_tokens(self._vocab))
        settings = library.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = n_ctx
        settings.n_threads = settings.n_threads_batch = threads
        if callback is not None:
            self._callback = EvalCallback(callback)  # kept alive as long as the context may call it
            settings.cb_eval = self._callback
        self._context = library.llama_init_from_model(self._model, settings)
        if not self._context:
            raise WorkerError("out_of_memory", f"llama.cpp cannot make a context of {n_ctx} tokens")
        self._batch = library.llama_batch_init(n_ctx, 0, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of `text`, special ones not added, and recognised where `special` says so."""
        raw = text.encode()
        buffer = (c_int32 * (len(raw) + 8))()
        count = self._library.llama_tokenize(self._vocab, raw, len(raw), buffer, len(buffer), False, special)  # noqa: FBT003 - a C signature
        if count < 0:
            raise WorkerError("tool_failed", "llama.cpp cannot tokenise the text")
        return list(buffer[:count])

    def chunks(self, text: str) -> list[list[int]]:
        """`text` in whole chunks of `n_ctx` tokens, each begun by the model's begin token where it wants one."""
        tokens = self.encode(text)
        whole = [tokens[at : at + self.n_ctx] for at in range(0, len(tokens) - self.n_ctx + 1, self.n_ctx)]
        if self._library.llama_vocab_get_add_bos(self._vocab):
            bos = int(self._library.llama_vocab_bos(self._vocab))
            whole = [[bos, *chunk[1:]] for chunk in whole]
        return whole

    def forget(self) -> None:
        """Clear the context, so that the next tokens begin a text."""
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)  # noqa: FBT003 - a C signature

    def logits(self, tokens: Sequence[int], wanted: range, start: int = 0) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of `tokens` placed at `start`; valid until the next call.

        Raises:
            WorkerError: `tool_failed` where the model cannot be evaluated or answers with values that are not numbers.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index in wanted
        status = self._library.llama_decode(self._context, batch)
        if status:
            raise WorkerError("tool_failed", f"llama.cpp cannot evaluate the model (llama_decode returned {status})")
        found = np.ctypeslib.as_array(self._library.llama_get_logits(self._context), (len(wanted), self.vocab_size))
        if not np.isfinite(found[-1]).all():
            raise WorkerError("unreadable_model", "the model's answers are not numbers: its weights are damaged")
        return found

    def evaluate(self, chunk: Sequence[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of a chunk as a text of its own; valid until the next call."""
        self.forget()
        return self.logits(chunk, wanted)

    def generate(self, prompt: str, count: int) -> str:
        """The likeliest continuation of `prompt`, at most `count` tokens."""
        self.forget()
        tokens = self.encode(prompt)
        at, answer = 0, []
        for _ in range(count):
            row = self.logits(tokens, range(len(tokens) - 1, len(tokens)), at)
            at += len(tokens)
            best = int(row[-1].argmax())
            if self._library.llama_vocab_is_eog(self._vocab, best):
                break
            answer.append(best)
            tokens = [best]
        return self.decode(answer)

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of `ids`, special tokens left out unless `special` says so."""
        return b"".join(self._piece(token, special=special) for token in ids).decode(errors="replace")

    @property
    def end_token(self) -> str:
        """What ends a text, as it is written."""
        return self.decode([self._library.llama_vocab_eos(self._vocab)], special=True)

    def _piece(self, token: int, *, special: bool) -> bytes:
        buffer = create_string_buffer(PIECE_BYTES)
        size = self._library.llama_token_to_piece(self._vocab, token, buffer, PIECE_BYTES, 0, special)
        return buffer.raw[: max(size, 0)]
