"""Items of tasks are made of a text alone, scores are paired by item, and a model is scored where it is served."""

import json
from pathlib import Path

import pytest

from executors.compress.gguf import quantize
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.measure.tasks import Bookshelf, Item, Task, TaskScores, answering, compare
from executors.texts import Texts
from executors.worker import Workbench
from schemas.artifact import Text
from schemas.error import AgentError, ErrorCode
from schemas.measurement import ServedModel

SHIPPED = ("wiki_next_sentence", "wiki_last_word")
TASK = Task(name="t", splits={}, source="made up")


def scores(*values: float) -> TaskScores:
    """One metric of one task, item by item."""
    return TaskScores(items=tuple(Item(task="t", item=at, scores={"acc": value}) for at, value in enumerate(values)))


def test_the_same_text_makes_the_same_items(halves: Texts, tmp_path: Path) -> None:
    """Each item has one right answer that is not in its context, and a second making gives the same files."""
    tasks = Bookshelf(halves.evaluation, tmp_path / "a").tasks(SHIPPED)
    again = Bookshelf(halves.evaluation, tmp_path / "b").tasks(SHIPPED)
    texts = [task.splits["test"].read_text() for task in tasks]
    assert texts == [task.splits["test"].read_text() for task in again]
    sentences, words = ([json.loads(line) for line in text.splitlines()] for text in texts)
    assert min(len(sentences), len(words)) >= 50
    assert all(len(set(item["choices"])) == 4 and item["choices"][item["answer"]] for item in sentences)
    assert len({item["answer"] for item in sentences}) == 4
    assert all(item["word"].casefold() in item["context"].casefold() for item in words)
    assert all("CC BY-SA" in task.source for task in tasks)


def test_a_users_own_items_make_a_standard_task(halves: Texts, tmp_path: Path) -> None:
    """A folder with split files goes by its name; what has no items here is refused with the names there are."""
    own = tmp_path / "own" / "lambada_openai"
    own.mkdir(parents=True)
    (own / "test.jsonl").write_text('{"text":"a b"}\n')
    shelf = Bookshelf(halves.evaluation, tmp_path, tmp_path / "own")
    (task,) = shelf.tasks(["lambada_openai"])
    assert task.splits == {"test": own / "test.jsonl"}
    for name in ("hellaswag", "../own/lambada_openai", "/etc"):
        with pytest.raises(AgentError, match=r"there are wiki_next_sentence, wiki_last_word, lambada_openai") as caught:
            shelf.tasks([name])
        assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_text_without_items_is_refused(tmp_path: Path) -> None:
    """A text too short for one item makes no task."""
    (tmp_path / "short.txt").write_text("Too short. To ask anything.")
    text = Text(name="short.txt", path=tmp_path / "short.txt", sha256="0" * 64)
    with pytest.raises(AgentError, match=r"short.txt is too short"):
        Bookshelf(text, tmp_path).tasks(SHIPPED)


def test_differences_are_paired_by_item() -> None:
    """The standard error is that of the differences: two models that err together differ surely."""
    (found,) = compare([TASK], scores(1, 0, 1, 0, 1, 0), scores(0.5, -0.5, 0.5, -0.5, 0.5, -0.5))
    assert (found.baseline, found.candidate, found.difference) == (0.5, 0.0, -0.5)
    assert found.standard_error == 0
    (found,) = compare([TASK], scores(1, 1, 1, 1), scores(1, 0, 1, 0))
    assert found.standard_error == pytest.approx(1 / 12**0.5)
    assert (found.low, found.high) == pytest.approx((-0.5 - 1.96 / 12**0.5, -0.5 + 1.96 / 12**0.5), abs=1e-3)


@pytest.mark.parametrize("other", [scores(1), scores(1, 1, 1)])
def test_other_items_cannot_be_paired(other: TaskScores) -> None:
    """Scores of different items, or of hardly any, are no comparison."""
    with pytest.raises(AgentError, match="are needed"):
        compare([TASK], scores(1, 0), other)


@pytest.mark.real
@pytest.mark.usefixtures("nothing_left")
async def test_a_served_model_is_judged_as_its_file_is(base: Path, halves: Texts, bench: Workbench) -> None:
    """Through an endpoint the same figures come out, but for the divergence: of what is told, a lower bound."""
    candidate = bench.log.with_name("Q2_K.gguf")
    await quantize(base, "Q2_K", candidate, importance=None, bench=bench)
    rule = GateRule(limit=0.02, min_blocks=8, max_tokens=512)
    told = {"text": halves.evaluation, "rule": rule, "cache": bench.log.with_name("scores")}
    direct = (await judge(base, candidate, **told, bench=bench)).quality
    server = Workbench(bench.toolchain, 1, bench.log.with_name("log-server"))
    async with answering(candidate, "llama.cpp", server) as served:
        remote = (await judge(base, served, **told, bench=bench)).quality
    assert remote.perplexity == pytest.approx(direct.perplexity, rel=1e-5)
    assert (remote.top1, remote.tokens) == (direct.top1, direct.tokens)
    assert remote.kl_is_bound
    assert not direct.kl_is_bound
    assert 0 < remote.kl < direct.kl
    assert [place.start for place in direct.positions] == list(range(256, 512, 32))
    assert sum(place.tokens for place in direct.positions) == direct.tokens
    mean = sum(place.nll_difference * place.tokens for place in direct.positions) / direct.tokens
    assert 2.718281828**mean - 1 == pytest.approx(direct.loss, rel=1e-3)


@pytest.mark.real
async def test_an_endpoint_that_cannot_be_scored_is_refused(
    llamacpp: object, base: Path, halves: Texts, bench: Workbench
) -> None:
    """llama.cpp's own server tells nothing of a prompt: unsupported; where nobody listens: engine_failed."""
    from executors.serve.llamacpp import serve  # noqa: PLC0415 - only this test serves so
    from schemas.plan import Strategy  # noqa: PLC0415

    strategy = Strategy(engine="llama.cpp", weight_format="F16", accelerator="host", context=1024)
    rule = GateRule(limit=0.02, max_tokens=512)
    told = {"text": halves.evaluation, "rule": rule, "cache": bench.log.with_name("scores"), "bench": bench}
    async with serve(strategy, base, python=llamacpp.python, log=bench.log.with_name("log-server")) as endpoint:
        with pytest.raises(AgentError) as caught:
            await judge(base, ServedModel(url=endpoint.url, model=endpoint.model), **told)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    with pytest.raises(AgentError, match="does not answer") as caught:
        await judge(base, ServedModel(url="http://127.0.0.1:9", model="m"), **told)
    assert caught.value.code is ErrorCode.ENGINE_FAILED
