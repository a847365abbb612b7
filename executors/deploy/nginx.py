"""NGINX's configuration for the same deployment: the second renderer, with a cache of answers that never change.

NGINX has no runtime API: a new share is a new file and a graceful reload. It knows neither priorities nor a queue of
its own. Where those matter, HAProxy is the gateway; where answers repeat, this one saves the engine the work.
"""

import getpass
from collections.abc import Iterable

from pydantic import PositiveInt

from executors.deploy.home import Home
from schemas.base import Record
from schemas.deployment import Deployment, Route, Slot


class CacheSettings(Record):
    """What is kept of answers; a request is deterministic where its body says `"temperature": 0`."""

    megabytes: PositiveInt = 256
    minutes: PositiveInt = 60


CONFIG = """\
# Made by inferwright.
daemon off;
# The agent's own user: the folder is closed to all others.
user {user};
pid {home}/nginx.pid;
error_log {home}/logs/nginx.err warn;
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
    access_log {home}/logs/nginx.log rows;
    map $http_acp_session $session {{ "" $request_id; default $http_acp_session; }}
    split_clients $session $slot {{
{split}    }}
{upstreams}{cache}    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://$slot;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_read_timeout 300s;
            proxy_next_upstream error timeout non_idempotent;
{use_cache}        }}
    }}
}}
"""
CACHE = """\
    proxy_cache_path {home}/nginx/answers keys_zone=answers:8m max_size={megabytes}m inactive={minutes}m;
    map $request_body $chance {{ default 1; "~\\"temperature\\"\\s*:\\s*0(\\.0*)?\\s*[,}}]" 0; }}
"""
USE_CACHE = """\
            proxy_cache answers;
            proxy_cache_methods POST;
            proxy_cache_key "$slot $request_uri $request_body";
            proxy_cache_valid 200 {minutes}m;
            proxy_cache_bypass $chance;
            proxy_no_cache $chance;
            proxy_cache_lock on;
            proxy_ignore_headers Cache-Control Expires;
"""


def config(home: Home, deployment: Deployment, route: Route, cache: CacheSettings | None = None) -> str:
    """The text of `nginx.conf`; without `cache`, nothing is kept."""
    green = 1 - route.share if route.stable is Slot.GREEN else route.share
    return CONFIG.format(
        home=home.path,
        user=getpass.getuser(),
        port=deployment.port,
        split="".join(f"        {line}\n" for line in _split(green)),
        upstreams="".join(_upstreams(deployment)),
        cache=CACHE.format(home=home.path, **cache.model_dump()) if cache else "",
        use_cache=USE_CACHE.format(**cache.model_dump()) if cache else "",
    )


def hit_rate(statuses: Iterable[str]) -> float | None:
    """Share of answers that came from the cache, of those it was asked for; None where it was asked for none."""
    asked = [status for status in statuses if status in {"HIT", "MISS", "EXPIRED", "STALE", "UPDATING"}]
    return sum(status == "HIT" for status in asked) / len(asked) if asked else None


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
