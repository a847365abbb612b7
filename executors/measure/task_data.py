"""Items of the shipped tasks: an evaluation text in, a file of items for each task out, the same for the same text."""

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from executors.files import write_whole
from schemas.artifact import Text
from schemas.error import AgentError, ErrorCode

FOLDER = "tasks"
EDITION = 1
"""Raised when the items change, so that scores of older ones are not mistaken for today's."""
ITEMS = 400
"""Of each task at the most."""
SEED = 20_240_521
SENTENCE = re.compile(r"(?<=[a-z0-9)][.!?])\s+(?=[A-Z])")
LENGTHS = range(40, 220)
"""Characters of a sentence that may be in an item."""
CONTEXT = 3
"""Sentences before the one that is asked for."""
OTHERS = 3
"""Wrong answers beside the right one."""
LAST_WORD = re.compile(r"([A-Za-z]{4,})[.!?]$")

Paragraphs = list[list[str]]
Item = dict[str, object]


def items_of(text: Text, cache: Path) -> dict[str, Path]:
    """The items of every shipped task, by its name; made on first use.

    Raises:
        AgentError: `unsupported` where the text has no whole item.
    """
    folder = cache / FOLDER / f"{text.sha256[:16]}-{EDITION}"
    paths = {name: folder / f"{name}.jsonl" for name in MAKERS}
    for name, path in paths.items():
        if not path.is_file():
            items = list(MAKERS[name](_paragraphs(text), random.Random(SEED)))[:ITEMS]  # noqa: S311 - a sample
            if not items:
                raise AgentError(ErrorCode.UNSUPPORTED, f"{text.name} is too short to make one item of {name} from")
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, "".join(json.dumps(item) + "\n" for item in items))
    return paths


def _paragraphs(text: Text) -> Paragraphs:
    """Paragraphs as sentences of usable length, in the text's order."""
    whole = text.path.read_text(encoding="utf-8")
    split = ([part.strip() for part in SENTENCE.split(block)] for block in re.split(r"\n+", whole))
    return [found for found in split if len(found) > CONTEXT and all(len(it) in LENGTHS for it in found[: CONTEXT + 1])]


def _next_sentence(paragraphs: Paragraphs, chance: random.Random) -> Iterator[Item]:
    """Three sentences and which of four comes next; the wrong ones begin the paragraphs that follow."""
    for at in chance.sample(range(len(paragraphs) - OTHERS), max(0, len(paragraphs) - OTHERS)):
        here, others = paragraphs[at], paragraphs[at + 1 : at + 1 + OTHERS]
        choices = [here[CONTEXT], *(other[0] for other in others)]
        right = choices[0]
        chance.shuffle(choices)
        yield {"context": " ".join(here[:CONTEXT]), "choices": choices, "answer": choices.index(right)}


def _last_word(paragraphs: Paragraphs, chance: random.Random) -> Iterator[Item]:
    """A passage without its last word, which stands in it before."""
    for paragraph in chance.sample(paragraphs, len(paragraphs)):
        passage = " ".join(paragraph[:CONTEXT])
        found = LAST_WORD.search(passage)
        if found and re.search(rf"\b{found[1]}\b", passage[: found.start()], re.IGNORECASE):
            yield {"context": passage[: found.start()].rstrip(), "word": found[1]}


MAKERS: dict[str, Callable[[Paragraphs, random.Random], Iterator[Item]]] = {
    "wiki_next_sentence": _next_sentence,
    "wiki_last_word": _last_word,
}
