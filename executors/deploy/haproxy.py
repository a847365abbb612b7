"""HAProxy's configuration: a deployment in, the text of the safe state out, and the gateway as a supervised program.

Two backends, one for each release. Which of them a request goes to is a share in a map, not a weight between servers:
servers' weights no longer hold once the queue is full, and the share of a release on trial must hold then above all.
"""

import shutil

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from executors.deploy import doors
from executors.deploy.home import Home
from executors.deploy.supervisor import Program
from schemas.base import Record
from schemas.deployment import Deployment, Release, Route, Slot
from schemas.error import AgentError, ErrorCode

PROGRAM = "gateway"
PLACES = 8
"""Replicas that one release can have: the gateway keeps so many places, so that none needs a reload."""
PARTS = 10_000
"""Shares are drawn from so many parts."""
NOWHERE = "127.0.0.1:1"


class GatewaySettings(Record):
    """What the gateway allows. Times in seconds."""

    queue_limit: PositiveInt = 500
    """Requests that may wait for one release; more are refused with 429, save those of a high priority."""
    queue_s: PositiveFloat = 30.0
    """How long one may wait."""
    answer_s: PositiveFloat = 300.0
    """How long an engine may be silent."""
    check_ms: PositiveInt = 100
    body_bytes: PositiveInt = 8192
    """Of a sampled request's body that are kept."""
    prefix_bytes: NonNegativeInt = 0
    """Requests whose bodies begin with the same bytes go to the same replica, for its KV cache; 0 for the freest."""
    priorities: dict[str, int] = Field(default_factory=lambda: {"high": -100, "normal": 0, "low": 100})
    """What `Acp-Priority` may say; the lower the number, the sooner served."""
    keys: dict[str, int] = Field(default_factory=dict)
    """Priorities by the SHA-256 of an `Authorization` header. With any here, `Acp-Priority` counts for nothing."""


CONFIG = """\
# Made by inferwright: the safe state, which a restarted gateway comes back with. Shares move at run time.
global
    stats socket unix@{home}/gateway.sock mode 600 level admin
    log stdout len 65535 format raw local0 info
    hard-stop-after 60s
    tune.bufsize 65536
    maxconn 4096
defaults
    mode http
    log global
    option http-buffer-request
    # A kept connection to an engine that died would end in silence for the client instead of a second try.
    option http-server-close
    option dontlognull
    option redispatch 1
    # An answer that has not begun is asked for again: a restarted engine then costs time and no request.
    retries 15
    retry-on conn-failure empty-response
    timeout connect 2s
    timeout client {answer_s}s
    timeout server {answer_s}s
    timeout queue {queue_s}s
    timeout http-request 10s
frontend gateway
    bind 127.0.0.1:{port}
    declare capture request len {body_bytes}
    http-request set-var(txn.green) str(green),map_str_int({home}/share.map,0)
    http-request set-var(txn.draw) rand({parts})
    http-request set-var(txn.draw) req.hdr(acp-session),djb2(1),mod({parts}) if {{ req.hdr(acp-session) -m found }}
    http-request set-var(txn.sampled) str(sampled),map_str_int({home}/share.map,0)
    http-request set-var(txn.dice) rand({parts})
    http-request set-var(txn.class) int(0)
    http-request set-var(txn.class) {priority}
    http-request set-var(txn.sender) req.hdr(acp-from)
    http-request set-priority-class var(txn.class)
    acl urgent var(txn.class) -m int lt 0
    http-request set-var(txn.doors) str({doors_key}),map_str_int({home}/share.map,0) if !urgent
    acl by_door var(txn.doors) -m int gt 0
    http-request capture req.body id 0 if METH_POST {{ var(txn.dice),sub(txn.sampled) lt 0 }}
    acl for_green var(txn.draw),sub(txn.green) lt 0
{ups}    # Where one release has nobody left to answer, the other does: both passed the gate.
    use_backend green-rest if by_door green_up for_green or by_door green_up !blue_up
    use_backend green if green_up for_green or green_up !blue_up
    use_backend blue-rest if by_door
    default_backend blue
    # A stream passes through whatever stands before this gateway token by token, and is kept by none.
    http-response set-header X-Accel-Buffering no if {{ res.hdr(content-type) -m beg text/event-stream }}
    log-format '{log_format}'
{backends}{doors}
frontend metrics
    bind 127.0.0.1:{metrics_port}
    no log
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request deny
"""
BACKEND = """\
backend {slot}
    {balance}
    option httpchk GET /health
    http-request deny deny_status 429 if {{ queue ge {queue_limit} }} !{{ var(txn.class) -m int lt 0 }}
    # A killed engine is given up before it listens again: one that still loads its weights refuses what it is asked.
    timeout check 5s
    default-server check inter {check_ms}ms fall 2 rise 1
"""
WAITING = f"""\
    # Where everybody is given up, requests wait here: nobody listens, so that they try for a server every second.
    server waiting {NOWHERE} no-check backup
"""
LOG_FORMAT = (
    '{"at_s":%Ts.%ms,"slot":"%[be_name,field(1,-)]","server":"%s","status":%ST,"queue_ms":%Tw,"first_ms":%Tr,'
    '"total_ms":%Ta,"bytes":%B,"end":"%ts","priority":%[var(txn.class)],"sender":"%[var(txn.sender),json(utf8s)]",'
    '"prompt":"%[capture.req.hdr(0),json(utf8s)]"}'
)


def config(home: Home, deployment: Deployment, settings: GatewaySettings) -> str:
    """The text of `gateway.cfg`: every request to the stable release."""
    return CONFIG.format(
        home=home.path,
        port=deployment.port,
        metrics_port=deployment.metrics_port,
        body_bytes=settings.body_bytes,
        answer_s=f"{settings.answer_s:g}",
        queue_s=f"{settings.queue_s:g}",
        parts=PARTS,
        priority=_priority(home, settings),
        log_format=LOG_FORMAT,
        ups="".join(_up(slot) for slot in Slot),
        backends="".join(_backend(slot, deployment, settings) for slot in Slot),
        doors_key=doors.KEY,
        doors=doors.text(home, deployment, settings.queue_limit),
    )


def maps(settings: GatewaySettings, route: Route) -> dict[str, str]:
    """The files beside the configuration: shares in parts, nothing sampled, no doors, priorities by name and by key."""
    return {
        "share.map": f"green {green_parts(route)}\nsampled 0\n{doors.KEY} 0\n",
        "priority.map": "".join(f"{name} {level}\n" for name, level in settings.priorities.items()),
        "keys.map": "".join(f"{key.lower()} {level}\n" for key, level in settings.keys.items()),
    }


def green_parts(route: Route) -> int:
    """Of all requests, the parts that go to the green place."""
    trial = round(route.share * PARTS)
    return PARTS - trial if route.stable is Slot.GREEN else trial


def program(home: Home) -> Program:
    """HAProxy in the foreground.

    Raises:
        AgentError: `toolchain_missing` where it is not installed.
    """
    return Program(PROGRAM, (find(), "-db", "-f", str(home.path / "gateway.cfg")))


def find() -> str:
    """The haproxy program.

    Raises:
        AgentError: `toolchain_missing`.
    """
    found = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if found is None:
        detail = "production needs HAProxy 2.6 or newer: install your system's haproxy package"
        raise AgentError(ErrorCode.TOOLCHAIN_MISSING, detail)
    return found


def servers(release: Release | None, slot: Slot) -> list[tuple[str, str, int, bool]]:
    """Each place of a backend: its name, its address, the requests it takes at once, whether it is in use."""
    used = {replica.name: replica for replica in release.replicas} if release else {}
    at_once = release.strategy.max_sequences if release else 1
    return [
        (name, f"127.0.0.1:{used[name].port}" if name in used else NOWHERE, at_once, name in used)
        for name in _places(slot)
    ]


def _backend(slot: Slot, deployment: Deployment, settings: GatewaySettings) -> str:
    release = next((item for item in deployment.releases if item.slot is slot), None)
    balance = "balance leastconn"
    if settings.prefix_bytes:
        affinity = f"balance hash req.body,bytes(0,{settings.prefix_bytes})"
        balance = f"{affinity}\n    hash-type consistent\n    hash-balance-factor 150"
    head = BACKEND.format(slot=slot, balance=balance, queue_limit=settings.queue_limit, check_ms=settings.check_ms)
    lines = [
        f"    server {name} {address} maxconn {at_once}{'' if used else ' disabled'}\n"
        for name, address, at_once, used in servers(release, slot)
    ]
    return head + "".join(lines) + WAITING


def _up(slot: Slot) -> str:
    """Whether anybody of a release takes requests: lines of one condition are its alternatives."""
    return "".join(f"    acl {slot}_up srv_is_up({slot}/{name})\n" for name in _places(slot))


def _places(slot: Slot) -> list[str]:
    return [f"{slot}-{number}" for number in range(1, PLACES + 1)]


def _priority(home: Home, settings: GatewaySettings) -> str:
    """What gives a request its class: the key that it shows, or where there are none its own word."""
    if settings.keys:
        return f"req.hdr(authorization),sha2(256),hex,lower,map_str_int({home.path}/keys.map,0)"
    return f"req.hdr(acp-priority),lower,map_str_int({home.path}/priority.map,0)"
