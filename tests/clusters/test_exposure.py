"""What is deployed, as Prometheus reads it: a gateway's log becomes counters, a record becomes gauges and targets."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from closing.records import candidate, gate
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from acp.bridge.metrics import ProductionCollector
from executors.deploy import exposure
from executors.deploy.exposure import Exposure
from executors.deploy.home import Home
from schemas.command import QualityWatch
from schemas.deployment import Deployment, DeploymentState, Release, Replica, RolloutEnd, RolloutOutcome, Route, Slot
from schemas.measurement import GateVerdict
from schemas.sampling import Drift

LABELS = ("deployment", "strategy", "sender", "outcome", "source", "le")
ROW = {"at_s": 1.0, "server": "blue-1", "status": 200, "queue_ms": 0, "first_ms": 90, "bytes": 10, "end": "--"}
"""A line of the gateway's log, save what a test says of it."""


@pytest.fixture
def runs() -> Iterator[Path]:
    """A folder of runs with a short path: sockets below it have a limit."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def figures(runs: Path) -> Exposure:
    """What is deployed below that folder."""
    return Exposure(runs / "deployments", runs)


@pytest.fixture
def home(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A deployment of two releases during a rollout at 5 %; figures are never older than the call."""
    monkeypatch.setattr(exposure, "FRESH_S", 0.0)
    home = Home.under(runs / "deployments", "chat")
    home.make()
    releases = tuple(
        Release(
            number=number,
            slot=slot,
            strategy=candidate("Q8_0").strategy,
            weights=PurePosixPath("weights/a.gguf"),
            reference=PurePosixPath("weights/b.gguf"),
            replicas=(Replica(name=f"{slot.value}-1", port=port),),
            gate=gate(0.005, GateVerdict.PASSED) if number == 2 else None,
            job="job-a" if number == 2 else "",
        )
        for number, slot, port in ((1, Slot.BLUE, 9001), (2, Slot.GREEN, 9002))
    )
    last = RolloutOutcome(
        deployment="chat", end=RolloutEnd.PROMOTED, sentence="", old=None, new="v1", latency_limit_ms=400
    )
    home.save(
        Deployment(
            name="chat",
            model="m",
            state=DeploymentState.ROLLING_OUT,
            port=9000,
            metrics_port=9009,
            route=Route(stable=Slot.BLUE, share=0.05),
            releases=releases,
            last=last,
        )
    )
    return home


def served(home: Home, **fields: Any) -> None:
    """One more line in the gateway's log."""
    row = ROW | {"slot": "blue", "total_ms": 100, "sender": "alice"} | fields
    with (home.logs / "gateway.log").open("a") as log:
        log.write(json.dumps(row) + "\n")


def samples(figures: Exposure) -> dict[tuple[str, ...], float]:
    """Every sample as Prometheus parses it, by name and the values of its labels."""
    registry = CollectorRegistry()
    registry.register(ProductionCollector(figures.read()))
    text = generate_latest(registry).decode()
    return {
        (sample.name, *(sample.labels[label] for label in LABELS if label in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_release_sender_and_outcome(home: Home, figures: Exposure) -> None:
    """Good, slow and failed; what comes later is added; the histogram holds what completed."""
    served(home)
    served(home, total_ms=401)
    served(home, status=503, slot="green", sender="bob")
    first = samples(figures)
    served(home, sender="bob")
    found = samples(figures)
    total = "inferwright_requests_total"
    assert first[total, "chat", "v1", "alice", "good"] == 1
    assert first[total, "chat", "v1", "alice", "slow"] == 1
    assert first[total, "chat", "v2", "bob", "failed"] == 1
    assert (total, "chat", "v1", "bob", "good") not in first
    assert found[total, "chat", "v1", "bob", "good"] == 1
    assert found[total, "chat", "v1", "alice", "good"] == 1
    assert found["inferwright_request_seconds_bucket", "chat", "v1", "0.1"] == 2
    assert found["inferwright_request_seconds_bucket", "chat", "v1", "0.25"] == 2
    assert found["inferwright_request_seconds_count", "chat", "v1"] == 3
    assert found["inferwright_request_seconds_count", "chat", "v2"] == 0
    assert found["inferwright_request_seconds_sum", "chat", "v1"] == pytest.approx(0.601)


def test_slots_time_is_counted_by_sender(home: Home, figures: Exposure) -> None:
    """From the end of the wait to the last byte; who was refused in the queue took none."""
    served(home, total_ms=1100, queue_ms=100)
    served(home, total_ms=3000, sender="bob", slot="green")
    served(home, total_ms=9000, queue_ms=9000, first_ms=-1, status=503, sender="bob")
    found = samples(figures)
    busy = "inferwright_slot_seconds_total"
    assert found[busy, "chat", "v1", "alice"] == 1
    assert found[busy, "chat", "v2", "bob"] == 3
    assert found[busy, "chat", "v1", "bob"] == 0


def test_what_ran_in_a_place_before_is_not_counted_to_a_release(home: Home, figures: Exposure) -> None:
    """The log remembers requests of a release that had the place before: an agent that starts now leaves them out."""
    known = home.load()
    assert known
    releases = tuple(release.model_copy(update={"since_s": 50.0}) for release in known.releases)
    home.save(known.model_copy(update={"releases": releases}))
    served(home, at_s=49.0)
    served(home, at_s=51.0)
    assert samples(figures)["inferwright_requests_total", "chat", "v1", "alice", "good"] == 1


def test_the_watchs_verdict_is_told(home: Home, figures: Exposure) -> None:
    """What live prompts showed since the rollout stands before the gate of before it, with its time."""
    spec = QualityWatch()
    decision = gate(0.04, GateVerdict.FAILED)
    drift = Drift(watch=spec, limit=0.02, state="resting", release=2, window=3, decision=decision, judged_at_s=77.0)
    (home.path / "drift.json").write_text(drift.model_dump_json())
    found = samples(figures)
    assert found["inferwright_quality_loss", "chat", "v2", "live"] == decision.quality.loss
    assert found["inferwright_quality_judged_timestamp_seconds", "chat", "v2", "live"] == 77
    assert ("inferwright_quality_loss", "chat", "v2", "gate") not in found


def test_senders_cannot_make_series_without_end(home: Home, figures: Exposure) -> None:
    """The first fifty have a series of their own, the rest share one; a name is cut and holds no control characters."""
    for number in range(80):
        served(home, sender=f"s{number}\u0000" + "x" * 200)
    found = [key for key in samples(figures) if key[0].endswith("requests_total")]
    assert len(found) == exposure.SENDERS + 1
    assert max(len(key[3]) for key in found) == exposure.SENDER_LENGTH
    assert not any("\u0000" in key[3] for key in found)


def test_share_quality_and_cost_are_told_where_they_are_known(home: Home, runs: Path, figures: Exposure) -> None:
    """The gate's interval and limit of the new release, the price that its job knew; nothing for the old one."""
    estimate = {"value": 730.0, "low": 730.0, "high": 730.0, "unit": "USD", "evidence": "assumed"}
    trial = {"candidate": candidate("Q8_0").model_dump(mode="json")}
    trial["candidate"]["prediction"]["cost_per_1k_usd"] = estimate | {"value": 0.2, "low": 0.2, "high": 0.2}
    (runs / "job-a").mkdir()
    report = {"cost": {"monthly": estimate}, "recommended": 0, "trials": [trial], "else": 1}
    (runs / "job-a" / "report.json").write_text(json.dumps(report))
    assert home.record.exists()
    found = samples(figures)
    assert found["inferwright_share_ratio", "chat", "v1"] == 0.95
    assert found["inferwright_share_ratio", "chat", "v2"] == 0.05
    assert found["inferwright_quality_loss_high", "chat", "v2", "gate"] == pytest.approx(0.009)
    assert found["inferwright_quality_loss_limit", "chat", "v2", "gate"] == 0.02
    assert found["inferwright_cost_usd_per_hour", "chat", "v2"] == 1
    assert found["inferwright_planned_cost_per_1k_requests_usd", "chat", "v2"] == 0.2
    assert ("inferwright_cost_usd_per_hour", "chat", "v1") not in found
    assert ("inferwright_quality_loss", "chat", "v1", "gate") not in found


def test_prometheus_is_told_where_engines_are(home: Home, figures: Exposure) -> None:
    """A target for each release's engines, with the labels that the rules group by, and one for the gateway."""
    assert home.record.exists()
    targets = figures.read().targets
    assert [(target.targets, target.labels) for target in targets] == [
        (("127.0.0.1:9001",), {"deployment": "chat", "strategy": "v1"}),
        (("127.0.0.1:9002",), {"deployment": "chat", "strategy": "v2"}),
        (("127.0.0.1:9009",), {"gateway": "chat"}),
    ]


def test_nothing_deployed_is_nothing_told(figures: Exposure) -> None:
    """Without deployments there are no series and no targets."""
    assert samples(figures) == {}
    assert figures.read().targets == ()
