"""The gate over real scores: one that should pass passes, one that should fail fails, and undecided never passes."""

from pathlib import Path

import pytest

from executors.compress.gguf import quantize
from executors.measure.gate import Block, GateRule
from executors.measure.score import judge
from executors.texts import Texts
from executors.worker import Workbench
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateVerdict

pytestmark = pytest.mark.real


def rows(log: Path) -> list[Block]:
    """The blocks that a judgement kept beside its log."""
    return [Block.model_validate_json(line) for line in log.with_suffix(".blocks.jsonl").read_text().splitlines()]


async def test_the_gate_passes_fails_and_stays_undecided(
    base: Path, halves: Texts, bench: Workbench, tmp_path: Path
) -> None:
    """Q8_0 passes at 5 %, Q2_K fails at 2 %, and Q8_0 at 0 % is still undecided at the bound."""
    cache = tmp_path / "scores"
    for name in ("Q8_0", "Q2_K"):
        await quantize(base, name, tmp_path / f"{name}.gguf", importance=None, bench=bench)

    rule = GateRule(limit=0.05, min_blocks=16, max_tokens=2048)
    good = await judge(base, tmp_path / "Q8_0.gguf", text=halves.evaluation, rule=rule, cache=cache, bench=bench)
    first = rows(bench.log)
    assert good.verdict is GateVerdict.PASSED, good.sentence
    assert good.quality.loss_high <= 0.05
    assert good.quality.kl < 0.01
    assert good.quality.top1 > 0.9
    assert halves.evaluation.sha256[:12] in good.quality.text

    rule = GateRule(limit=0.02, min_blocks=16, max_tokens=2048)
    bad = await judge(base, tmp_path / "Q2_K.gguf", text=halves.evaluation, rule=rule, cache=cache, bench=bench)
    assert bad.verdict is GateVerdict.FAILED, bad.sentence
    assert bad.quality.kl > 10 * good.quality.kl
    assert bad.quality.top1 < good.quality.top1
    paired = zip(first, rows(bench.log), strict=False)
    assert all(one.nll_baseline == other.nll_baseline for one, other in paired)

    rule = GateRule(limit=0.0, min_blocks=16, max_tokens=512)
    shy = await judge(base, tmp_path / "Q8_0.gguf", text=halves.evaluation, rule=rule, cache=cache, bench=bench)
    assert shy.verdict is GateVerdict.UNDECIDED, shy.sentence
    assert shy.quality.tokens == 512


async def test_too_short_a_text_is_refused(base: Path, bench: Workbench, tmp_path: Path) -> None:
    """A text without one whole chunk cannot judge anything."""
    from executors.texts import find  # noqa: PLC0415 - only this test has a text of its own

    short = tmp_path / "short.txt"
    short.write_text("Too short to judge with.")
    other = tmp_path / "other.txt"
    other.write_text("Another text.")
    text = find(tmp_path, calibration=other, evaluation=short).evaluation
    with pytest.raises(AgentError, match="shorter than 512 tokens") as caught:
        await judge(base, base, text=text, rule=GateRule(limit=0.02), cache=tmp_path / "scores", bench=bench)
    assert caught.value.code is ErrorCode.UNSUPPORTED
