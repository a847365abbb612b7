"""What cannot be done here is planned and handed to peers; an absent peer holds nothing up, a present one is heard."""

from pathlib import Path

import nats
import pytest
from closing.agent import agent
from nats.aio.msg import Msg

from cli.send import Watch, send
from handlers.workshop import Workshop
from schemas.status import InferenceStatus, JobState

pytestmark = pytest.mark.usefixtures("nothing_left")
COMMAND: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "llama-3.1-8b",
    "targets": {"throughput": 2},
    "constraints": {"hardware": "1xH100-SXM", "max_quality_loss": 0.02},
    "workload": {"input_tokens": 500, "output_tokens": 200},
    "mode": "run",
}


@pytest.mark.parametrize("present", [False, True])
async def test_a_run_elsewhere_is_planned_and_handed_over(workshop: Workshop, tmp_path: Path, present: bool) -> None:  # noqa: FBT001
    """The terminal status says that nothing was carried out, whom the work went to and what they answered."""
    updates: list[InferenceStatus] = []
    async with agent(tmp_path, workshop) as url:
        client = await nats.connect(url)

        async def devops(message: Msg) -> None:
            await message.respond(b'{"infra_status":{"nodes":1},"hash":"infra_v1"}')

        if present:
            await client.subscribe("acp.devops-engineer.cmd", cb=devops)
            await client.flush()
        await send(COMMAND, url, watch=Watch(status=updates.append))
        await client.close()
    final = updates[-1]
    assert final.state is JobState.NOT_MET
    assert "Planned only" in final.detail
    assert ("infra_v1" in final.detail) is present
    assert "devops-engineer" in final.detail
    assert present or "unanswered" in final.detail
    assert list(tmp_path.glob("job-*/plan.json"))
