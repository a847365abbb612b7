"""One method's line of docs/methods.md: what was made, judged and served in; a table's row out, and what is wrong."""

import os
import platform
from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path

from schemas.artifact import Artifact
from schemas.base import Record
from schemas.measurement import GateDecision, GateVerdict

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
COLUMNS = ("method", "tool s", "MB", "peak MB", "perplexity", "95 % interval", "KL", "top-1", "tokens", "at 2 %")
COLUMNS += ("judged by", "served by", "its words", "nats", "settings", "date")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
LONGEST = 80
"""Characters of words and of refusals in a table."""
FEW_WORDS = 3
APART = 0.05
"""Nats per token between two engines on the same weights and tokens that rounding of activations does not explain."""
MUST = {
    "Q8_0": GateVerdict.PASSED,
    "gptqmodel-8bit-g32": GateVerdict.PASSED,
    "Q2_K": GateVerdict.FAILED,
    "sparse-2-4": GateVerdict.FAILED,
}
"""What a gate of 2 % has to say of methods that are clear cases."""


class Said(Record):
    """Words after a fixed prompt, and the nats per token that the untouched model gives to them; None without words."""

    words: str
    nats: float | None


class Served(Record):
    """An engine of `executors/serve` with the artifact: what it wrote, or why it does not serve it."""

    engine: str
    claimed: bool
    """Whether the method's row says that it serves it."""
    said: Said | None = None
    loss: float | None = None
    """Relative rise of perplexity through the endpoint; None where it does not tell a prompt's log-probabilities."""
    judged: float | None = None
    """The same on the same tokens, by the engine that judges."""
    refusal: str = ""

    def __str__(self) -> str:
        if self.said is None:
            return f"not {self.engine}: *{self.refusal.partition('. ')[0][:LONGEST].replace('|', '/')}*"
        return self.engine if self.loss is None else f"{self.engine} {self.loss:+.1%}"


class Row(Record):
    """One method's line: what its artifact, the gate and the engines that serve it said, when, with which settings."""

    name: str
    key: str
    date: str
    settings: str
    artifact: Artifact
    decision: GateDecision
    judged_s: float
    own: Said
    """By the engine that judges."""
    served: tuple[Served, ...]

    @property
    def said(self) -> Said:
        """As served, where an engine serves it."""
        return next((one.said for one in self.served if one.said), self.own)

    def __str__(self) -> str:
        made, quality = self.artifact, self.decision.quality
        cells = (
            f"`{self.name}`",
            f"{made.seconds:.0f}",
            f"{made.output.bytes / 1e6:.0f}",
            f"{made.peak_bytes / 1e6:,.0f}" if made.peak_bytes else "-",
            f"{quality.perplexity / quality.baseline_perplexity - 1:+.1%}",
            f"{quality.loss_low:+.1%} to {quality.loss_high:+.1%}",
            f"{quality.kl:.4f}",
            f"{quality.top1:.3f}",
            f"{quality.tokens:,}",
            self.decision.verdict.value,
            made.engine or "llama.cpp",
            ", ".join(str(one) for one in self.served) or "-",
            " ".join(self.said.words.split())[:LONGEST].replace("|", "/"),
            "-" if self.said.nats is None else f"{self.said.nats:.2f}",
            self.settings,
            self.date,
        )
        return "| " + " | ".join(cells) + " |"

    def wrong(self) -> Iterator[str]:
        """What speaks against it.

        Words may surprise the untouched model as much as the evaluation text surprises the artifact, and no more: where
        a method loses a lot, its words do too, and where they are no language at all, no such loss was measured.
        """
        expected = MUST.get(self.name, self.decision.verdict)
        if self.decision.verdict is not expected:
            yield f"{self.name}: {self.decision.sentence}"
        for one in self.served:
            if one.claimed != (one.said is not None):
                yield f"{self.name}: methods.toml is wrong of {one.engine}: {one.refusal or 'it serves it'}"
            if one.loss is not None and one.judged is not None and abs(log((1 + one.loss) / (1 + one.judged))) > APART:
                yield f"{self.name}: {one.loss:+.1%} as {one.engine} serves it, {one.judged:+.1%} as it was judged"
        if self.artifact.curve:
            yield from self._untaught()
            return
        text = log(self.decision.quality.perplexity)
        for said in (self.own, *(one.said for one in self.served if one.said)):
            if said.nats is None or len(said.words.split()) < FEW_WORDS or said.nats > text:
                nats = "no" if said.nats is None else f"{said.nats:.2f}"
                yield f"{self.name}: {said.words!r}, {nats} nats a token, for at most {text:.2f}"

    def _untaught(self) -> Iterator[str]:
        """A student of a few steps writes no sentences yet; that it comes nearer to its teacher is what it shows."""
        before, after = (float(self.artifact.parameters[name]) for name in ("kl_before", "kl_after"))
        if after >= before:
            yield f"{self.name}: its divergence does not fall: {before:.2f} to {after:.2f} nats"


def machine() -> str:
    """What this ran on, as the kernel says."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in facts.splitlines() if "model name" in line), "")
    wide = next((name for name in ("avx512_vnni", "avx512f", "avx2") if f" {name} " in facts), "no AVX")
    return f"{platform.machine()}, {model or 'unknown'}, {os.cpu_count()} cores, {wide}, no GPU used, one engine thread"


def write(rows: Sequence[Row], mark: str) -> None:
    """Put rows into the page's table below its mark; those of other methods stay as they are, with their own dates."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(mark)
    table, cut, after = rest.partition("\n<!--")
    lines = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    lines |= {row.name: str(row) for row in rows}
    body = "\n".join((HEAD, *lines.values()))
    PAGE.write_text(f"{before}{mark}\n\nOn {machine()}.\n\n{body}\n{cut}{after}", encoding="utf-8")
