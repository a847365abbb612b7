"""NGINX's configuration: before a deployment's gateway, to keep answers that never change, or in the gateway's place.

NGINX has no runtime API: a change is a new file and a graceful reload. In the gateway's place it knows neither
priorities nor a queue of its own, so nothing here runs it so: it is for who has NGINX already.
"""

import getpass
import shutil
from collections.abc import Iterable
from pathlib import Path

from executors.deploy.home import Home
from schemas.deployment import AnswerCache, Deployment, Slot
from schemas.error import AgentError, ErrorCode

CONFIG = """\
# Made by inferwright.
daemon off;
# The agent's own user: the folder is closed to all others.
user {user};
pid {home}/nginx/nginx.pid;
error_log stderr warn;
worker_processes 1;
worker_shutdown_timeout 120s;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {home}/nginx/body;
    proxy_temp_path {home}/nginx/proxy;
    fastcgi_temp_path {home}/nginx/fastcgi;
    uwsgi_temp_path {home}/nginx/uwsgi;
    scgi_temp_path {home}/nginx/scgi;
    # A body must be in memory to be a cache's key.
    client_body_buffer_size 64k;
    client_max_body_size 1m;
    log_format rows escape=json '{{"at_s":$msec,"status":$status,"total_s":$request_time,"slot":"$slot",'
        '"cache":"$upstream_cache_status"}}';
    access_log /dev/stdout rows;
    map $http_acp_session $session {{ "" $request_id; default $http_acp_session; }}
    split_clients $session $slot {{
{split}    }}
{upstreams}{cache}    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://$slot;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_read_timeout 300s;
            proxy_next_upstream error timeout non_idempotent;
{use_cache}        }}
    }}
}}
"""
CACHE = """\
    proxy_cache_path {folder} keys_zone=answers:8m max_size={megabytes}m inactive={minutes}m use_temp_path=off;
    # Kept is what says once, and in so many words, that no chance is in it.
    map $request_body $chance {{
        default 1;
        "~(?s)\\"temperature\\".*\\"temperature\\"" 1;
        "~\\"temperature\\"\\s*:\\s*0(\\.0*)?\\s*[,}}]" 0;
    }}
"""
USE_CACHE = """\
            proxy_cache answers;
            proxy_cache_methods POST;
            # Who shows another key shares no answers.
            proxy_cache_key "$request_uri $http_authorization $request_body";
            proxy_cache_valid 200 {minutes}m;
            proxy_cache_bypass $chance;
            proxy_no_cache $chance;
            proxy_cache_lock on;
            proxy_ignore_headers Cache-Control Expires;
"""


def front(home: Home, deployment: Deployment, cache: AnswerCache) -> str:
    """Before the gateway, at the cache's own port; nothing is kept, nor asked for, while a release is on trial."""
    upstream = f"    upstream gateway {{\n        server 127.0.0.1:{deployment.port};\n        keepalive 32;\n    }}\n"
    size = {"megabytes": cache.megabytes, "minutes": cache.minutes}
    keeps = deployment.candidate is None
    return CONFIG.format(
        home=home.path,
        user=getpass.getuser(),
        port=cache.port,
        split="        * gateway;\n",
        upstreams=upstream,
        cache=CACHE.format(folder=folder(home, deployment), **size) if keeps else "",
        use_cache=USE_CACHE.format(**size) if keeps else "",
    )


def instead(home: Home, deployment: Deployment) -> str:
    """In the gateway's place, at its port, with the shares that it has now."""
    share = deployment.route.share
    green = 1 - share if deployment.route.stable is Slot.GREEN else share
    return CONFIG.format(
        home=home.path,
        user=getpass.getuser(),
        port=deployment.port,
        split="".join(f"        {line}\n" for line in _split(green)),
        upstreams="".join(_upstreams(deployment)),
        cache="",
        use_cache="",
    )


def folder(home: Home, deployment: Deployment) -> Path:
    """Where answers of the release that serves are kept: no other one's are ever found there."""
    return home.path / "nginx" / f"answers-v{deployment.stable.number}"


def find() -> str:
    """The nginx program.

    Raises:
        AgentError: `toolchain_missing`.
    """
    found = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if found is None:
        raise AgentError(ErrorCode.TOOLCHAIN_MISSING, "the cache of answers needs NGINX: install your system's package")
    return found


def _split(green: float) -> list[str]:
    if green <= 0:
        return [f"* {Slot.BLUE};"]
    if green >= 1:
        return [f"* {Slot.GREEN};"]
    return [f"{green:.2%} {Slot.GREEN};", f"* {Slot.BLUE};"]


def _upstreams(deployment: Deployment) -> Iterable[str]:
    for release in deployment.releases:
        yield f"    upstream {release.slot} {{\n        least_conn;\n"
        for replica in release.replicas:
            at_once = release.strategy.max_sequences
            yield f"        server 127.0.0.1:{replica.port} max_conns={at_once} max_fails=3 fail_timeout=5s;\n"
        yield "        keepalive 32;\n    }\n"
