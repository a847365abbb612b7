"""The tokens of a model folder: its `tokenizer.json` in, chunks of token ids out; the `tokenizers` package only."""

import json
from pathlib import Path

from protocol import WorkerError
from tokenizers import Tokenizer


class Tokens:
    """A folder's tokenizer, without any class that a folder could name."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises nothing more precise
            raise WorkerError("unreadable_model", f"{folder.name} has no readable tokenizer.json ({error})") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

        settings = folder / "tokenizer_config.json"
        told = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        end = told.get("eos_token") or ""
        self.end_token = str(end["content"] if isinstance(end, dict) else end)
        """What ends a text, as it is written; empty where the folder does not say."""

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of `text`, special ones not added; `tokenizers` always recognises them."""
        del special
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """The text of `ids` without special tokens."""
        return str(self._tokenizer.decode(ids))

    def names(self, ids: list[int]) -> list[str]:
        """The tokens as they stand in the vocabulary, for engines that want strings."""
        return [str(self._tokenizer.id_to_token(token)) for token in ids]

    def ids(self, names: list[str]) -> list[int]:
        """The inverse of `names`."""
        return [int(self._tokenizer.token_to_id(name)) for name in names]

    def chunks(self, text: str, size: int) -> list[list[int]]:
        """`text` in whole chunks of `size` tokens, each begun by what the tokenizer puts before every text."""
        tokens = self.encode(text)
        prefix = list(self._tokenizer.encode("", add_special_tokens=True).ids)[:1]
        whole = [tokens[at : at + size] for at in range(0, len(tokens) - size + 1, size)]
        return [[*prefix, *chunk[len(prefix) :]] for chunk in whole]
