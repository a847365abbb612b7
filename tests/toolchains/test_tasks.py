"""Tasks by lm-evaluation-harness, offline: a folder, a served model, own items; run by `make test-toolchains`."""

import json
from pathlib import Path

import pytest
from closing.agent import SMALL, agent
from conftest import CACHE
from toolchains.benches import bench

from cli.send import Watch, send
from executors.measure.tasks import TOOLCHAIN, Bookshelf, answering, compare, evaluate
from executors.texts import Texts
from handlers.workshop import Workshop
from schemas.error import AgentError, ErrorCode
from schemas.findings import QualityReport

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
ITEMS = 6


async def test_a_folder_and_a_served_model_answer_alike(
    folder: Path, base: Path, halves: Texts, tmp_path: Path
) -> None:
    """The harness on the folder itself and on the same weights served by llama.cpp gives the same items' scores."""
    tasks = Bookshelf(halves.evaluation, tmp_path).tasks(["wiki_next_sentence", "wiki_last_word"])
    harness = bench(TOOLCHAIN, tmp_path)
    own = await evaluate(folder, tasks, ITEMS, harness)
    async with answering(base, "llama.cpp", bench("llamacpp", tmp_path)) as served:
        other = await evaluate(served, tasks, ITEMS, harness)
    found = {(one.task, one.metric): one for one in compare(tasks, own, other)}
    likelihood = found["wiki_last_word", "loglikelihood"]
    assert likelihood.items == ITEMS
    assert likelihood.baseline < 0
    assert likelihood.difference == pytest.approx(0, abs=0.02)
    assert found["wiki_next_sentence", "acc"].candidate > 0.25


async def test_a_standard_task_runs_on_the_users_own_items(base: Path, halves: Texts, tmp_path: Path) -> None:
    """The harness's own lambada_openai with items from a folder; one that it does not know is refused."""
    own, server = tmp_path / "own", bench("llamacpp", tmp_path)
    for name in ("lambada_openai", "nonesuch_task"):
        (own / name).mkdir(parents=True)
        lines = [
            json.dumps({"text": f"The sea was calm, and the ships lay still on the sea {number}"})
            for number in range(3)
        ]
        (own / name / "test.jsonl").write_text("\n".join(lines))
    shelf = Bookshelf(halves.evaluation, tmp_path, own)
    async with answering(base, "llama.cpp", server) as served:
        found = await evaluate(served, shelf.tasks(["lambada_openai"]), ITEMS, bench(TOOLCHAIN, tmp_path))
        with pytest.raises(AgentError, match="no task 'nonesuch_task'") as caught:
            await evaluate(served, shelf.tasks(["nonesuch_task"]), ITEMS, bench(TOOLCHAIN, tmp_path))
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert [set(item.scores) for item in found.items] == [{"acc", "loglikelihood"}] * 3


async def test_folders_and_served_models_are_judged_over_the_wire(
    folder: Path, shipped: Path, halves: Texts, tmp_path: Path
) -> None:
    """A folder at hand is the model; a GGUF beside it and a model at a configured endpoint are judged, with tasks."""
    async with answering(shipped, "llama.cpp", bench("llamacpp", tmp_path)) as served:
        roots = (folder.parent, shipped.parent)
        effort = SMALL.__class__(task_items=4, judge_tokens=1024, max_threads=1)
        shop = Workshop(
            cache=CACHE, memory=tmp_path / "memory", model_roots=roots, effort=effort, endpoints={"live": served.url}
        )
        asked = {"cmd": "EVALUATE_QUALITY", "model": folder.name, "constraints": {"max_quality_loss": 0.5}}
        reports = []
        async with agent(tmp_path, shop) as url:
            for candidate in (shipped.stem, "live"):
                sent = await send({**asked, "candidate": candidate, "tasks": ["wiki_last_word"]}, url, watch=Watch())
                assert sent.job is not None
                reports.append(QualityReport.model_validate_json((tmp_path / sent.job / "report.json").read_bytes()))
                page = (tmp_path / sent.job / "report.md").read_text()
                assert "| wiki_last_word | loglikelihood |" in page
                assert "![positions](positions.svg)" in page
            with pytest.raises(AgentError, match="no task 'hellaswag'"):
                await send({**asked, "candidate": "live", "tasks": ["hellaswag"]}, url)
            refused = {"cmd": "QUANTIZE_MODEL", "model": folder.name, "method": "Q4_0"}
            with pytest.raises(AgentError, match="is made from a GGUF file and SmolLM2-folder is a folder"):
                await send(refused, url)
            asked = {"cmd": "QUANTIZE_MODEL", "model": folder.name, "method": "ct2-int8"}
            job = (await send({**asked, "constraints": {"max_quality_loss": 0.5}}, url, watch=Watch())).job
            assert job is not None
            made = QualityReport.model_validate_json((tmp_path / job / "report.json").read_bytes())
    assert made.artifact is not None
    assert made.artifact.source.name == folder.name
    assert made.gate.quality.loss < 0.1
    assert not (tmp_path / job / "safetensors").exists()
    assert halves.evaluation.sha256[:12] in reports[0].tasks[0].source
    for report in reports:
        assert report.gate.quality.loss == pytest.approx(0, abs=0.02)
        assert report.gate.quality.kl_is_bound
        assert {one.items for one in report.tasks} == {4}
        assert "F16 weights" in report.baseline_note
