"""Pictures beside reports: drawn where matplotlib is, left out where it is not."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from closing.records import gate, level, load, trial

from handlers.optimization import plots
from schemas.measurement import Arrivals, GateVerdict, Knee

BROKEN = Knee(held=1, broke=2, why="latency p95 of 900 ms against 500 ms")


def test_a_sweep_is_drawn_by_the_kind_of_load_that_it_raised(tmp_path: Path) -> None:
    """Three rates make a curve, and where the stress test broke is marked; one level of each kind makes none."""
    rates = tuple(level(Arrivals.POISSON, rate, rate, 100 * rate) for rate in (0.5, 1, 2))
    assert plots.draw_load(tmp_path, load(2, 500)) == ()
    stressed = load(2, 500).model_copy(update={"levels": rates, "knee": BROKEN})
    assert plots.draw_load(tmp_path, stressed) == ("latency.svg",)
    text = (tmp_path / "latency.svg").read_text()
    assert "requests/s, Poisson arrivals" in text
    assert "broke" in text


def test_without_matplotlib_a_job_ends_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: nothing is written, and nothing fails."""
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    assert plots.draw(tmp_path, load(2, 500), (trial("Q8_0", 3),), 0.02) == ()
    assert plots.draw_load(tmp_path, load(2, 500)) == ()
    assert plots.draw_quality(tmp_path, gate(0.01, GateVerdict.PASSED)) == ()
    assert list(tmp_path.iterdir()) == []


def test_trials_are_named_by_engine_and_format(tmp_path: Path) -> None:
    """A far limit is told beside the plot instead of leaving no room in it."""
    names = plots.draw(tmp_path, load(2, 500), (trial("Q8_0", 3), trial("Q2_K", None, 0.3)), 9.0)
    pages = [(tmp_path / name).read_text() for name in names]
    assert [ET.fromstring(page).tag.endswith("svg") for page in pages] == [True, True]  # noqa: S314 - our own file
    assert "llama.cpp Q2_K" in pages[0]
    assert "limit 900.0%, far to the right" in pages[0]
