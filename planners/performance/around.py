"""Layouts in, what was measured near them out: by how much they are slower than expected, and the surer for it."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import build_of, calibration, narrowed, subject_of
from planners.performance.nearby import Heard, neighbours
from planners.performance.places import Named, Places, Speed
from planners.performance.published import Regime, rate_class
from planners.performance.sources import Layout
from planners.tables import table
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ALONE = 1.0
_LOOP = Regime.LOOP.value
_PLANNED = (Speed.FIRST, Speed.PREFILL, Speed.STEP, Speed.RATE)


@dataclass(frozen=True)
class Said:
    """What neighbours say, by row and number of open requests."""

    slower: Floats
    """Factor on times; rates are divided by it."""
    company: Floats
    closer: Floats
    """What the closest company leaves of a deviation, (rows, 1)."""

    @classmethod
    def of(cls, heard: Heard, columns: slice, closer: Floats) -> Self:
        """What some numbers of open requests heard."""
        return cls(np.exp(heard.lag[:, columns]), heard.company[:, columns], closer)

    def known(self, rows: Ints, closer: float) -> Self:
        """The same, but `closer` in some rows."""
        changed = self.closer.copy()
        changed[rows] = closer
        return replace(self, closer=changed)

    @property
    def narrower(self) -> Floats:
        """Factor on the deviations of logarithms."""
        return narrowed(self.closer, self.company)


@dataclass(frozen=True)
class Around:
    """What is said of first tokens and prompts of one request alone (rows, 1), and by batch of the rest (rows, B)."""

    first: Said
    prompt: Said
    step: Said
    rate: Said


def around(model: ModelFacts, *layouts: Layout) -> Around:
    """What rows near `layouts` measured, which follow each other and share the batches of the first."""
    opened = np.concatenate([[_ALONE], layouts[0].batch.ravel().astype(np.float64)])
    heard = neighbours().hear_around(_places(model, layouts), opened, _PLANNED)
    widths = calibration().widths
    alone, batches = slice(0, 1), slice(1, None)
    rates = [widths.closest(rate_class(layout.engine, layout.accelerator.key), _LOOP) for layout in layouts]
    rate = np.repeat(rates, [layout.tp.size for layout in layouts])[:, None]
    first, step = (
        np.full_like(rate, widths.closest(*kind)) for kind in (("ttft-unloaded", Regime.STATIC.value), ("tpot", _LOOP))
    )
    return Around(
        first=Said.of(heard[Speed.FIRST], alone, first),
        prompt=Said.of(heard[Speed.PREFILL], alone, rate),
        step=Said.of(heard[Speed.STEP], batches, step),
        rate=Said.of(heard[Speed.RATE], batches, rate),
    )


def published(model: ModelFacts, accelerators: set[str]) -> Counter[str]:
    """How many published figures of a model there are on any of `accelerators`, by engine."""
    rows, build = table("neighbours"), build_of(model)
    return Counter(row["engine"] for row in rows if row["model"] == build and row["accelerator"] in accelerators)


def _places(model: ModelFacts, layouts: tuple[Layout, ...]) -> Places:
    """A closed loop on each row of `layouts`; how many requests are open is asked apart."""
    each = Places.named(_named(model, layout) for layout in layouts)
    places = each.pick(np.repeat(np.arange(len(layouts)), [layout.tp.size for layout in layouts]))
    places.logs[:, 0] = np.log(np.concatenate([layout.tp.ravel() for layout in layouts]))
    return places


def _named(model: ModelFacts, layout: Layout) -> Named:
    who = subject_of(model, layout.engine, layout.accelerator, layout.weight_format)
    return Named(
        engine=who.engine,
        variant=who.variant,
        model=who.model,
        accelerator=who.accelerator,
        family=who.family,
        weight_format=layout.weight_format,
        regime=_LOOP,
        limit=0.0,
        percentile="p50",
        speed=Speed.STEP.name,
        tp=1.0,
        input=float(layout.input_tokens),
        output=float(layout.output_tokens),
        open=_ALONE,
    )
