import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest

from acp.bridge.app import Bridge
from acp.bridge.guard import tls
from acp.bus import Bus
from acp.settings import Settings
from executors.broker import Broker
from schemas.error import AgentError, ErrorCode

OPENSSL = (
    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
    *("-subj", "/CN=devops-engineer", "-addext", "subjectAltName=IP:127.0.0.1"),
)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its key; it is its own authority."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(  # noqa: S603 - a fixed command
        [*OPENSSL, "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key


async def test_nats_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A broker that asks for client certificates is reached with the authority and certificate of the settings."""
    cert, key = certificate
    tls = f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{cert}", verify: true }}'
    async with Broker(tmp_path / "broker", extra=tls) as broker:
        url = broker.url.replace("nats://", "tls://")
        settings = Settings(nats_urls=(url,), nats_tls_ca=cert, nats_tls_cert=cert, nats_tls_key=key)
        async with Bus(settings, settings.nats_urls).connected() as bus:
            assert bus.up


async def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    """One sentence with the file's name, at either door."""
    lost = tmp_path / "lost.pem"
    inside = Settings(nats_urls=("tls://127.0.0.1:1",), nats_tls_ca=lost)
    with pytest.raises(AgentError, match=r"lost\.pem") as caught:
        await Bus(inside, inside.nats_urls).connect()
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    with pytest.raises(AgentError, match=r"lost\.pem"):
        tls(Settings(http_tls_cert=lost, http_tls_key=lost))


async def test_t03_the_bridge_over_mutual_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """With client certificates required a public bind is allowed; without one the handshake fails."""
    cert, key = certificate
    settings = Settings(
        http_host="0.0.0.0",  # noqa: S104 - allowed, because certificates are required
        http_port=0,
        http_tls_cert=cert,
        http_tls_key=key,
        http_tls_client_ca=cert,
        runs_dir=tmp_path,
    )
    trusting = ssl.create_default_context(cafile=cert)
    known = ssl.create_default_context(cafile=cert)
    known.load_cert_chain(cert, key)
    async with Bridge(settings).serving() as bridge, aiohttp.ClientSession() as session:
        url = bridge.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        async with session.get(f"{url}/jobs", ssl=known) as response:
            assert response.status == 503, "known, and the agent is not connected"
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{url}/jobs", ssl=trusting)
