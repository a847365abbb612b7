import asyncio
import base64
import os
import signal
import sys
from hashlib import sha256
from pathlib import Path
from time import monotonic, time

import nkeys
import orjson
import psutil
import pytest
from processes import ROOT, AgentProcess

from acp.bus import Bus
from acp.settings import Settings
from executors.broker import Broker
from executors.process import Child
from schemas.error import AgentError, ErrorCode

MAIN = "from cli.main import main; main()"
FOREVER = 4_000_000_000
CREDS = """-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


def _seed(prefix: int = nkeys.PREFIX_BYTE_USER) -> bytes:
    return bytes(nkeys.encode_seed(os.urandom(32), prefix))


def _public(seed: bytes) -> str:
    return str(nkeys.from_seed(bytearray(seed)).public_key.decode())


def _only(*seeds: bytes) -> str:
    users = ", ".join(f"{{ nkey: {_public(seed)} }}" for seed in seeds)
    return f"authorization {{ users: [{users}] }}"


def _token(signer: bytes, subject: str, until: int, claims: dict[str, object]) -> str:
    """A token of NATS: a JWT signed with an nkey."""

    def part(value: object) -> str:
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    body = {"iss": _public(signer), "sub": subject, "name": "test", "iat": int(time()), "exp": until, "nats": claims}
    body["jti"] = base64.b32encode(sha256(orjson.dumps(body)).digest()).decode().rstrip("=")
    signed = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(body)}"
    return f"{signed}.{part(nkeys.from_seed(bytearray(signer)).sign(signed.encode()))}"


class Accounts:
    """An operator with one account, whose users have creds files."""

    def __init__(self) -> None:
        operator = _seed(nkeys.PREFIX_BYTE_OPERATOR)
        self.account, system = (_seed(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(2))
        limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        claims: dict[str, object] = {"type": "account", "version": 2, "limits": limits}
        preload = "\n".join(
            f"{_public(seed)}: {_token(operator, _public(seed), FOREVER, claims)}" for seed in (self.account, system)
        )
        own = _token(operator, _public(operator), FOREVER, {"type": "operator", "version": 2})
        self.config = (
            f"operator: {own}\nresolver: MEMORY\nsystem_account: {_public(system)}\nresolver_preload: {{\n{preload}\n}}"
        )

    def creds(self, file: Path, until: int) -> Path:
        """The file of a user whose token is good `until` then."""
        seed = _seed()
        claims = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        file.write_text(CREDS.format(token=_token(self.account, _public(seed), until, claims), seed=seed.decode()))
        return file


async def _connects(settings: Settings) -> None:
    async with Bus(settings, settings.nats_urls).connected() as bus:
        assert bus.up


async def test_f23_good_credentials_of_each_kind_connect(tmp_path: Path) -> None:
    """A token, an nkey seed file and a creds file; all come from settings, never from a URL in a log."""
    seed, accounts = _seed(), Accounts()
    (tmp_path / "seed").write_bytes(seed + b"\n")
    async with Broker(tmp_path / "token", extra='authorization { token: "t0ken" }') as broker:
        await _connects(Settings(nats_urls=(broker.url,), nats_token="t0ken"))  # noqa: S106 - a test's own
    async with Broker(tmp_path / "nkey", extra=_only(seed)) as broker:
        await _connects(Settings(nats_urls=(broker.url,), nats_nkey_file=tmp_path / "seed"))
    async with Broker(tmp_path / "creds", extra=accounts.config) as broker:
        file = accounts.creds(tmp_path / "creds.txt", FOREVER)
        await _connects(Settings(nats_urls=(broker.url,), nats_creds_file=file))


async def _refused(directory: Path, config: str, **given: object) -> None:
    """That the agent does not get in, and says so at once and once."""
    async with Broker(directory / "broker", extra=config) as broker:
        settings = Settings(nats_urls=(broker.url,), connect_limit_s=20, **given)
        bus = Bus(settings, settings.nats_urls)
        with pytest.raises(AgentError, match="NATS refused the credentials") as refused:
            await asyncio.wait_for(bus.connect(), 5)

    assert refused.value.code is ErrorCode.UNAUTHORIZED
    assert sum(bus.counts.values()) <= 3


async def test_f23_a_wrong_password_ends_the_start_at_once(tmp_path: Path) -> None:
    """An error with a clear message, not a hot loop."""
    await _refused(tmp_path, "authorization { user: a, password: right }", nats_user="a", nats_password="wrong")  # noqa: S106


async def test_f23_a_wrong_nkey_ends_the_start_at_once(tmp_path: Path) -> None:
    """The seed of a user whom the broker does not know."""
    (tmp_path / "seed").write_bytes(_seed())
    await _refused(tmp_path, _only(_seed()), nats_nkey_file=tmp_path / "seed")


async def test_f23_expired_creds_end_the_start_at_once(tmp_path: Path) -> None:
    """A token whose time is over."""
    accounts = Accounts()
    file = accounts.creds(tmp_path / "creds.txt", int(time()) - 60)
    await _refused(tmp_path, accounts.config, nats_creds_file=file)


async def test_f23_the_command_line_says_so_and_exits(tmp_path: Path) -> None:
    """`inferwright serve` with a wrong nkey: one sentence, exit status 2, within seconds."""
    (tmp_path / "seed").write_bytes(_seed())
    async with Broker(tmp_path / "broker", extra=_only(_seed())) as broker:
        env = {"INFERWRIGHT_NATS_URLS": broker.url, "INFERWRIGHT_NATS_NKEY_FILE": str(tmp_path / "seed")}
        began = monotonic()
        log = tmp_path / "log"
        argv = [sys.executable, "-c", MAIN, "serve", "--runs", str(tmp_path / "runs")]
        async with Child(argv, log=log, env=env | {"PYTHONPATH": str(ROOT)}) as serving:
            status = await asyncio.wait_for(serving.wait(), 15)

    said = [line for line in log.read_text().splitlines() if not line.startswith("{")]
    assert (status, said) == (2, [f"inferwright: NATS refused the credentials at {broker.url}; check them"])
    assert monotonic() - began < 10


@pytest.mark.parametrize("kind", ["nats_nkey_file", "nats_creds_file"])
@pytest.mark.parametrize(
    "content",
    [None, b"", b"hello", _seed(nkeys.PREFIX_BYTE_ACCOUNT)],
    ids=["missing", "empty", "nonsense", "an account's"],
)
async def test_f23_a_file_that_holds_no_credentials_is_named(tmp_path: Path, kind: str, content: bytes | None) -> None:
    """Missing, empty, nonsense or another kind's seed: an error that names the file and shows nothing of it."""
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(nats_urls=("nats://127.0.0.1:1",), **{kind: file})  # type: ignore[arg-type]
    with pytest.raises(AgentError, match=str(file)) as wrong:
        await Bus(settings, settings.nats_urls).connect()

    assert wrong.value.code is ErrorCode.UNAUTHORIZED
    assert not content or content.decode() not in wrong.value.detail


async def test_f23_a_user_who_is_removed_later_ends_the_agent(tmp_path: Path) -> None:
    """The nkey is taken from a running broker's users: the agent exits with a reason, no hot loop."""
    seed, other = _seed(), _seed()
    (tmp_path / "seed").write_bytes(seed)
    async with (
        Broker(tmp_path / "broker", extra=_only(seed, other)) as broker,
        AgentProcess(broker.url, tmp_path, nats_nkey_file=tmp_path / "seed") as agent,
    ):
        await agent.ready()
        config = tmp_path / "broker" / "nats.conf"
        config.write_text(config.read_text().replace(f"{{ nkey: {_public(seed)} }}, ", ""))
        psutil.Process(broker.child.process.pid).children()[0].send_signal(signal.SIGHUP)
        assert await asyncio.wait_for(agent.wait(), 20) == 1
        log = agent.log.read_text()

    assert "does not let this agent in any more" in log
    assert log.count("nats_refused") < 5


async def test_f23_an_agent_that_is_locked_out_later_exits(tmp_path: Path) -> None:
    """Credentials revoked while it runs: exit status 1 with a reason, no hot loop."""
    async with Broker(tmp_path / "before", extra="authorization { user: agent, password: a }") as broker:
        port = int(broker.url.rsplit(":", 1)[1])
        async with AgentProcess(broker.url, tmp_path, nats_user="agent", nats_password="a") as agent:  # noqa: S106
            await agent.ready()
            await broker.child.end()
            async with Broker(tmp_path / "after", port=port, extra="authorization { user: x, password: y }"):
                assert await asyncio.wait_for(agent.wait(), 20) == 1
            log = agent.log.read_text()

    assert "does not let this agent in any more" in log
    assert log.count("nats_refused") < 5
