from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from processes import AGENT, NAMES, until

from acp.envelope import classify
from acp.progress import progress
from cli.send import follow, request
from schemas.job import PeerProgress

FAMILY = {
    '{"training_status":{"epoch":3,"steps":15000,"metrics":{"loss":0.23,"accuracy":0.81},"gpu_hours":45,'
    '"est_completion":"2h","checkpoints":["epoch_1"]},"hash":"ft_med_v2"}': PeerProgress.UNDER_WAY,
    '{"training_status":{"epoch":3,"steps":45000,"est_completion":"0h"},"hash":"ft_med_v2"}': PeerProgress.FINISHED,
    '{"platform_status":{"compute":{"cpu_util":0.65},"network":{"latency_p95":"45ms","throughput":"2.3Gbps"}},'
    '"optimization":["scale_down_dev"],"hash":"infra_prod_2024"}': PeerProgress.UNKNOWN,
    '{"ai_status":{"models_online":3,"avg_response":"120ms","cost_efficiency":{"tokens_day":45000,"cost_usd":2.34}},'
    '"optimization":["cache_embeddings","batch_inference"],"hash":"ai_prod_2024"}': PeerProgress.UNKNOWN,
    '{"deploy_status":{"infrastructure":{"k8s_cluster":"healthy","nodes":12},"deployment":{"success_rate":0.98,'
    '"rollback_count":2}},"hash":"infra_v2"}': PeerProgress.FINISHED,
    '{"status":"DEPLOYED","hash":"h"}': PeerProgress.FINISHED,
    '{"status":"TRAINING_COMPLETE","hash":"h"}': PeerProgress.FINISHED,
    '{"status":"DEPLOYMENT_FAILED","hash":"h"}': PeerProgress.FAILED,
    '{"status":"IN_PROGRESS","hash":"h"}': PeerProgress.UNDER_WAY,
    '{"status":"NOT_READY","hash":"h"}': PeerProgress.UNKNOWN,
    '{"deploy_status":{"state":"rolled back"},"hash":"h"}': PeerProgress.FAILED,
    '{"deploy_status":{"state":"deployed","k8s_cluster":"unhealthy"},"hash":"h"}': PeerProgress.FAILED,
    '{"inference_status":{"state":"running","progress":1.0},"hash":"h"}': PeerProgress.UNDER_WAY,
    '{"x_status":{"progress":"85 %"},"hash":"h"}': PeerProgress.UNDER_WAY,
    '{"x_status":{"progress":100},"hash":"h"}': PeerProgress.FINISHED,
    '{"x_status":{"progress":"done"},"hash":"h"}': PeerProgress.FINISHED,
    '{"x_status":{"done":false},"hash":"h"}': PeerProgress.UNDER_WAY,
    '{"platform_status":{"ready":true},"hash":"h"}': PeerProgress.FINISHED,
    '{"x_status":{"error":"no GPU left"},"hash":"h"}': PeerProgress.FAILED,
    '{"x_status":{"est_completion":null,"error":null,"failed":false},"hash":"done"}': PeerProgress.UNKNOWN,
    '{"x_status":{"note":"when it is done tell CANCEL_JOB"},"hash":"h"}': PeerProgress.UNKNOWN,
}


@pytest.mark.parametrize(("body", "expected"), FAMILY.items())
def test_the_familys_statuses_are_understood(body: str, expected: PeerProgress) -> None:
    """Finished, failed, under way, or unknown where a status says nothing of the kind."""
    assert progress(classify(body.encode()).body) is expected


KEYS = st.sampled_from(["status", "progress", "eta", "done", "error", "hash", "x"]) | st.text()
BODY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["done", "1e999 %", "-1%"]),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, BODY))
def test_reading_a_status_never_raises(body: dict[str, Any]) -> None:
    """Whatever a peer sends, there is a verdict."""
    assert progress(body) in PeerProgress


async def _handed_off(client: Client, answer: bytes) -> str:
    """A job that asked the specialist for training, who answered so, and has ended."""

    async def peer(message: Msg) -> None:
        await message.respond(answer)

    await client.subscribe("acp.fine-tuning-specialist.cmd", cb=peer)
    await client.flush()
    command = {"cmd": "REHEARSE", "steps": 0, "peer": "fine-tuning-specialist"}
    job = (await request(client, command, AGENT)).job or ""
    await follow(client, AGENT, job, lambda _: None)
    return job


async def _said(client: Client, job: str, door: str, body: bytes, count: int) -> dict[str, Any]:
    """The job as JOB_STATUS shows it once it has `count` statuses of peers, the last one left at `door`."""
    await client.publish(door, body, headers={"Acp-Job": job, "Acp-From": "fine-tuning-specialist"})
    shown: dict[str, Any] = {}

    async def kept() -> bool:
        shown.update(orjson.loads((await request(client, {"cmd": "JOB_STATUS", "job": job}, AGENT)).reply)["job"])
        return len(shown["peers"]) == count

    await until(kept)
    return shown


@pytest.mark.usefixtures("agent")
async def test_a_peers_later_status_is_folded_into_the_hand_off_it_accepted(client: Client) -> None:
    """Under way, then finished; a vouched word is not overruled by a claimed one, and the job itself stays as it is."""
    job = await _handed_off(client, b'{"accepted":"job-of-theirs","hash":"accepted_v1"}')
    vouched = f"{NAMES.command}.fine-tuning-specialist"

    one = await _said(client, job, NAMES.command, b'{"training_status":{"est_completion":"2h"},"hash":"ft_v1"}', 1)
    two = await _said(client, job, vouched, b'{"training_status":{"state":"completed"},"hash":"ft_v2"}', 2)
    three = await _said(client, job, NAMES.command, b'{"status":"FAILED","hash":"ft_v2"}', 3)

    seen = [(shown["handoffs"][0]["progress"], shown["handoffs"][0]["verified"]) for shown in (one, two, three)]
    assert seen == [("under_way", False), ("finished", True), ("finished", True)]
    assert [peer["progress"] for peer in three["peers"]] == ["under_way", "finished", "failed"]
    assert (three["state"], three["handoffs"][0]["state"]) == ("completed", "accepted")


@pytest.mark.usefixtures("agent")
async def test_a_hand_off_that_was_refused_does_not_finish(client: Client) -> None:
    """A peer that did not take the work on cannot have finished it."""
    job = await _handed_off(client, b'{"error":{"code":"busy"},"hash":"error_v1"}')

    shown = await _said(client, job, NAMES.command, b'{"status":"DONE","hash":"ft_v1"}', 1)

    assert (shown["handoffs"][0]["state"], shown["handoffs"][0]["progress"]) == ("refused", "unknown")


@pytest.mark.usefixtures("agent")
async def test_labels_that_somebody_makes_up_do_not_fill_the_ledger(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the most that are kept with a job only what replaces a known one gets in."""
    monkeypatch.setattr("acp.ledger.PEER_STATUSES", 2)
    job = await _handed_off(client, b'{"accepted":"job-of-theirs","hash":"accepted_v1"}')
    await _said(client, job, NAMES.command, b'{"status":"RUNNING","hash":"one"}', 1)
    await _said(client, job, NAMES.command, b'{"status":"RUNNING","hash":"two"}', 2)
    await _said(client, job, NAMES.command, b'{"status":"DONE","hash":"three"}', 2)
    shown = await _said(client, job, NAMES.command, b'{"status":"DONE","hash":"two"}', 2)

    async def replaced() -> bool:
        answer = await request(client, {"cmd": "JOB_STATUS", "job": job}, AGENT)
        shown.update(orjson.loads(answer.reply)["job"])
        return {peer["hash"]: peer["progress"] for peer in shown["peers"]} == {"one": "under_way", "two": "finished"}

    await until(replaced)
