"""A deployment's record, written by this agent or by one of another version."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from deploying.doubles import releases

from executors.deploy.home import FORMAT, Home
from schemas.deployment import Deployment, DeploymentState, RolloutEnd, RolloutOutcome, Route, Slot
from schemas.error import AgentError

OUTCOME = RolloutOutcome(deployment="test", end=RolloutEnd.PROMOTED, sentence="v2 serves.", new="v2", requests=7)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A deployment of two releases whose last change is known."""
    home = Home(tmp_path / "test")
    home.make()
    now = Deployment(
        name="test",
        model="m",
        state=DeploymentState.LIVE,
        port=1,
        metrics_port=2,
        route=Route(stable=Slot.BLUE),
        releases=releases(3, 4),
        last=OUTCOME,
    )
    home.save(now)
    return home


def rewrite(home: Home, change: Any) -> Deployment | None:
    """What is read after `change` was made to the record on the disk."""
    kept = orjson.loads(home.record.read_bytes())
    home.record.write_bytes(orjson.dumps(change(kept)))
    return home.load()


def test_what_was_written_is_read(home: Home) -> None:
    """The whole record, under today's format."""
    found = home.load()
    assert found
    assert found.last == OUTCOME
    assert orjson.loads(home.record.read_bytes())["format"] == FORMAT


def test_a_record_without_a_format_is_read(home: Home) -> None:
    """As agents before the first format wrote it."""
    before = home.load()
    assert rewrite(home, lambda kept: kept["deployment"]) == before


def test_fields_of_other_versions_are_left_out(home: Home) -> None:
    """At any depth: one that was dropped since does not keep a deployment from being operated."""
    before = home.load()

    def add(kept: Any) -> Any:
        kept["dropped"] = 1
        for part in (
            kept["deployment"],
            *kept["deployment"]["releases"],
            kept["deployment"]["releases"][0]["strategy"],
        ):
            part["dropped_since"] = {"a": 1}
        kept["deployment"]["last"]["dropped_since"] = "x"
        return kept

    assert rewrite(home, add) == before


def test_a_history_in_other_words_is_left_out(home: Home) -> None:
    """How the last change was judged is for people: what serves is known all the same."""

    def other(kept: Any) -> Any:
        kept["deployment"]["last"]["end"] = "half_way"
        return kept

    found = rewrite(home, other)
    assert found
    assert found.last is None
    assert [release.number for release in found.releases] == [1, 2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda kept: kept | {"format": FORMAT + 1}, f"format {FORMAT + 1}.*use the one that wrote it"),
        (lambda kept: kept | {"format": "x"}, "format x"),
        (lambda kept: [kept], "no record"),
        (lambda kept: kept["deployment"] | {"port": 0}, "port"),
        (lambda kept: kept["deployment"] | {"releases": "x"}, "releases"),
    ],
)
def test_what_cannot_be_understood_is_refused(home: Home, change: Any, says: str) -> None:
    """A format to come, or no record at all: a sentence that names the file and what to do."""
    with pytest.raises(AgentError, match=says) as caught:
        rewrite(home, change)
    assert str(home.record) in caught.value.detail
