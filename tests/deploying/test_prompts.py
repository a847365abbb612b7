"""Which live requests quality is judged with: each form of prompt, and an honest count of those that cannot be used."""

import json
from pathlib import Path

import pytest
from deploying.doubles import STRATEGY

from executors.deploy.prompts import CUT_OFF, NO_DECODER, NO_TEXT, REPEATED, Asked, LivePrompts, prompt_of
from executors.serve.engine import text_of, tokens
from executors.serve.llamacpp import serve
from executors.toolchain import Toolchain
from schemas.error import AgentError
from schemas.sampling import Sampling
from schemas.traffic import RequestSeen

TEXT = "The sea was calm that day, and the ships lay still in the harbour."


def row(body: object, status: int = 200) -> RequestSeen:
    """A sampled request as the gateway logs it; a string is a body as it stands."""
    prompt = body if isinstance(body, str) else json.dumps(body)
    times = {"queue_ms": 0, "first_ms": 1, "total_ms": 1}
    return RequestSeen(at_s=0, slot="blue", server="blue-1", status=status, **times, bytes=1, end="--", prompt=prompt)


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"prompt": "a"}, Asked("a")),
        ({"prompt": ["a", "b"]}, Asked("a\nb")),
        ({"prompt": [1, 2]}, Asked(ids=((1, 2),))),
        ({"prompt": [[1, 2], [3]]}, Asked(ids=((1, 2), (3,)))),
        ({"messages": [{"role": "user", "content": "a"}, {"content": [{"type": "text", "text": "b"}]}]}, Asked("a\nb")),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "x", 1]}, Asked()),
        ({"prompt": []}, Asked()),
        ({"prompt": [1, "a"]}, Asked()),
        ({"prompt": [-1]}, Asked()),
        ({"prompt": [True]}, Asked()),
        ({"prompt": [[1], []]}, Asked()),
        ({"prompt": 7}, Asked()),
        ({}, Asked()),
    ],
)
def test_every_form_of_a_prompt_is_read(body: object, asked: Asked) -> None:
    """Texts, lists of them, token ids, chats; what is none of these asks nothing."""
    assert prompt_of(json.dumps(body)) == asked


@pytest.mark.parametrize("body", ['{"prompt":"a', "", "[1]", "x", '"a"'])
def test_half_a_body_is_none(body: str) -> None:
    """A body that the log has cut off is known as one."""
    assert prompt_of(body) is None


async def test_what_cannot_be_used_is_counted() -> None:
    """Each request that was sampled is either in the text or among those left out, with the reason."""

    async def decode(ids: tuple[int, ...]) -> str:
        return TEXT if ids == (1, 2) else ""

    prompts = LivePrompts(1024, decode)
    bodies = ({"prompt": "a"}, {"prompt": "a"}, {"prompt": [1, 2]}, {"prompt": [3]}, {}, '{"prompt":"cut')
    await prompts.take([*map(row, bodies), row({"prompt": [1, 2]}, status=400), row("")])
    left_out = {REPEATED: 1, NO_DECODER: 2, NO_TEXT: 1, CUT_OFF: 1}
    assert prompts.sampling == Sampling(seen=7, used=2, left_out=left_out)
    assert prompts.sampling.sentence.startswith("2 of 7 sampled prompts (")
    assert f"2 {NO_DECODER}" in prompts.sampling.sentence


@pytest.mark.real
async def test_token_ids_are_read_by_the_engine(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """llama.cpp tells what ids stand for; what it does not know is an error, and it serves on."""
    async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint:
        ids = await tokens(endpoint, TEXT)
        assert await text_of(endpoint.url, endpoint.model, ids) == TEXT
        with pytest.raises(AgentError, match="/detokenize"):
            await text_of(endpoint.url + "/none", endpoint.model, ids)
        assert await tokens(endpoint, TEXT) == ids
