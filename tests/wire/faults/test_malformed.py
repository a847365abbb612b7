import gzip
import json
import resource
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from nats.aio.client import Client
from processes import AGENT, NAMES, until

from acp.codec import BODY_BYTES, DEPTH, INT_MAX
from acp.envelope import Kind, classify
from acp.service import Service
from acp.settings import Settings

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PING = b'{"cmd":"PING"}'
MALFORMED = {
    "truncated": b'{"cmd":"PING"',
    "bad UTF-8": b'{"cmd":"\xff"}',
    "BOM": b'\xef\xbb\xbf{"cmd":"PING"}',
    "comment": b'{"cmd":"PING"} // hello',
    "trailing": b'{"cmd":"PING"}{}',
    "NaN": b'{"cmd":"PING","x":NaN}',
    "Infinity": b'{"cmd":"PING","x":Infinity}',
    "empty": b"",
    "scalar": b"42",
    "array root": b'[{"cmd":"PING"}]',
    "lone surrogate": b'{"cmd":"\\ud800"}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_f10_malformed_json_is_refused(body: bytes) -> None:
    """Every malformed body is refused as invalid_json, without raising."""
    assert classify(body).error == "invalid_json"


async def test_f10_a_malformed_message_is_answered_and_kept(agent: Service, client: Client) -> None:
    """A 400 reply, and a copy among the dead letters with the reason and the original headers."""
    reply = await client.request(NAMES.command, b'{"cmd":', headers={"Acp-From": "peer", "X-Own": "kept"})

    assert orjson.loads(reply.data)["error"]["status"] == 400
    await until(lambda: agent.intake.counts["dead_letters"] == 1)
    letter = await client.jetstream().get_last_msg(NAMES.stream("dlq"), NAMES.dead_letters)
    assert letter.data == b'{"cmd":'
    assert letter.headers is not None
    assert letter.headers["Acp-Reason"] == "invalid_json"
    assert (letter.headers["X-Own"], letter.headers["Acp-From"]) == ("kept", "peer")


async def test_f10_a_malformed_message_leaves_the_inbox(agent: Service, client: Client) -> None:
    """From the inbox too: copied first, then gone from the queue, and the next one is read."""
    js = client.jetstream()
    await js.publish(NAMES.inbox, b"{nonsense", headers={"Nats-Msg-Id": "bad-1"})
    await js.publish(NAMES.inbox, b'{"cmd":"PING"}', headers={"Nats-Msg-Id": "good-1"})

    async def emptied() -> bool:
        return (await js.stream_info(NAMES.stream("inbox"))).state.messages == 0

    await until(emptied)
    letter = await js.get_last_msg(NAMES.stream("dlq"), NAMES.dead_letters)
    good = await js.get_last_msg(NAMES.stream("status"), NAMES.answer("good-1"))
    assert letter.headers is not None
    assert (letter.data, letter.headers["Acp-Original-Msg-Id"]) == (b"{nonsense", "bad-1")
    assert orjson.loads(good.data or b"")["pong"] == AGENT
    assert agent.intake.counts["dead_letters"] == 1


@pytest.mark.parametrize("depth", [DEPTH + 1, 1024, 1025, 100_000, 500_000])
def test_f11_deep_json_is_refused_at_once(depth: int) -> None:
    """Nesting beyond the limit costs milliseconds, whatever its depth."""
    body = b'{"cmd":' + b"[" * depth + b"]" * depth + b"}"

    started = time.perf_counter()
    error = classify(body).error
    elapsed = time.perf_counter() - started

    assert error in {"invalid_json", "too_large"}
    assert elapsed < 0.05


def test_f11_the_deepest_allowed_json_is_read() -> None:
    """Exactly the limit is fine."""
    body = b'{"cmd":"PING","x":' + b"[" * (DEPTH - 1) + b"]" * (DEPTH - 1) + b"}"

    assert classify(body).kind is Kind.COMMAND


@pytest.mark.parametrize(
    "body",
    [
        b'{"cmd":"PING","cmd":"CANCEL_JOB"}',
        b'{"cmd":"PING","a":{"b":1,"\\u0062":2}}',
        b'{"cmd":"PING","n":123456789012345678901234567890}',
        b'{"cmd":"PING","n":9223372036854775808}',
        b'{"cmd":"PING","n":[-9223372036854775809]}',
    ],
)
def test_f12_what_the_parser_would_hide_is_refused(body: bytes) -> None:
    """Duplicate keys, also written with escapes, and integers beyond 64 bits."""
    assert classify(body).error == "invalid_json"


def test_f12_what_only_looks_like_it_is_read() -> None:
    """Colons and digits inside strings, and long fractions, are no reason to refuse."""
    body = b'{"cmd":"PING","a":":\\":123456789012345678901234567890","f":0.1234567890123456789012,"n":%d}' % INT_MAX

    assert classify(body).kind is Kind.COMMAND


def test_f13_a_body_or_string_over_its_limit_is_too_large() -> None:
    """256 KiB for the body, 64 KiB for a string."""
    assert classify(b'{"cmd":"' + b"x" * BODY_BYTES + b'"}').error == "too_large"
    assert classify(b'{"cmd":"PING","x":"' + b"y" * 65_537 + b'"}').error == "too_large"
    assert classify(b'{"cmd":"PING","x":"' + b"y" * 65_536 + b'"}').kind is Kind.COMMAND


def _bomb(encoding: str) -> bytes:
    """200 MB of zeros, packed."""
    packer: Any = zlib.compressobj(9, zlib.DEFLATED, 31) if encoding == "gzip" else zstd.ZstdCompressor()
    return b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(200)) + bytes(packer.flush())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_f14_a_decompression_bomb_is_refused_with_flat_memory(encoding: str) -> None:
    """200 MB out of 200 KB or less: refused at the limit, never unpacked."""
    bomb = _bomb(encoding)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()

    error = classify(bomb, encoding).error
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(bomb) < 200_000
    assert error == "too_large"
    assert peak < 2_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, (
        "kilobytes, the libraries' own included"
    )


def test_f14_a_zstd_frame_that_asks_for_a_large_window_is_refused() -> None:
    """The window is memory that the sender chooses: 128 MB for a body of a few bytes are not given."""
    options = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    frame = packer.compress(b'{"cmd":"PING"}', zstd.ZstdCompressor.FLUSH_BLOCK) + packer.flush()

    assert classify(frame, "zstd").error == "invalid_json"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)], ids=["gzip", "zstd"])
def test_f14_honest_data_is_read_and_broken_data_refused(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Both encodings work; what is cut, goes on after its end or comes in another encoding is invalid."""
    packed = pack(b'{"cmd":"PING"}')

    assert classify(packed, encoding).cmd == "PING"
    assert classify(packed[:-9], encoding).error == "invalid_json"
    assert classify(packed + packed, encoding).error == "invalid_json"
    assert classify(b'{"cmd":"PING"}', encoding).error == "invalid_json"
    assert classify(packed, "br").error == "invalid_json"


async def test_f14_packed_bodies_are_read_at_both_doors(settings: Settings, client: Client) -> None:
    """Content-Encoding zstd and gzip, over NATS and over HTTP: the same answer."""
    from test_bridge import serving  # noqa: PLC0415

    async with serving(settings) as url, aiohttp.ClientSession(url) as http:
        for encoding, body in (("gzip", gzip.compress(PING)), ("zstd", zstd.compress(PING))):
            head = {"Content-Encoding": encoding}
            reply = await client.request(NAMES.command, body, headers=head)
            async with http.post("/acp", data=body, headers=head | {"Content-Type": "application/json"}) as answer:
                assert (answer.status, await answer.read()) == (200, reply.data)
            assert orjson.loads(reply.data)["pong"] == AGENT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["cmd", "hash"]), inner),
    max_leaves=12,
)


@trials(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_classification_is_total(body: bytes) -> None:
    """Whatever comes, there is a kind, and a reason where it is refused."""
    envelope = classify(body)

    assert (envelope.kind is Kind.REFUSED) == (envelope.error is not None)
