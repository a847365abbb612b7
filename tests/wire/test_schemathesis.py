import asyncio
import sys
from pathlib import Path

import orjson
import pytest
from processes import AgentProcess

from executors.broker import Broker

CONFIG = Path(__file__).parent / "schemathesis.toml"


@pytest.mark.timeout(200)
async def test_the_bridge_does_what_its_contract_says(broker: Broker, tmp_path: Path) -> None:
    """Schemathesis finds no failure: statuses, content types and bodies are those of openapi.json."""
    async with AgentProcess(
        broker.url, tmp_path, arguments=("plain",), http=True, http_port=0, requests_per_s=1e6
    ) as agent:
        await agent.ready()
        listening = next(line for line in agent.log.read_text().splitlines() if "bridge_listening" in line)
        url = orjson.loads(listening)["url"]
        tool = Path(sys.executable).parent / "schemathesis"
        arguments = ["--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--max-examples", "5", "--seed", "1"]
        arguments += ["--phases", "fuzzing,stateful"]
        run = await asyncio.create_subprocess_exec(
            tool, *arguments, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await run.communicate()

    assert run.returncode == 0, output.decode()
