"""Prometheus beside a deployment: gateway and engines in, their metrics kept; replicas are found as they change."""

import shutil

import orjson

from executors.deploy.home import Home
from executors.deploy.supervisor import Program
from executors.files import write_whole
from schemas.deployment import Deployment

PROGRAM = "prometheus"
KEEP = "15d"
CONFIG = """\
global:
  scrape_interval: 5s
scrape_configs:
  - job_name: inferwright
    file_sd_configs:
      - files: ["{home}/targets.json"]
        refresh_interval: 5s
"""


def installed() -> bool:
    """Whether this machine has it: a deployment serves without."""
    return shutil.which(PROGRAM) is not None


def program(home: Home, port: int) -> Program:
    """Prometheus on loopback, its data in the deployment's folder."""
    write_whole(home.path / "prometheus.yml", CONFIG.format(home=home.path))
    argv = (
        str(shutil.which(PROGRAM)),
        f"--config.file={home.path}/prometheus.yml",
        f"--storage.tsdb.path={home.path}/prometheus",
        f"--storage.tsdb.retention.time={KEEP}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    return Program(PROGRAM, argv)


def write_targets(home: Home, deployment: Deployment) -> None:
    """What is to be scraped: the gateway, and each replica under its release's name."""
    named = {"deployment": deployment.name}
    groups = [{"targets": [f"127.0.0.1:{deployment.metrics_port}"], "labels": named | {"part": "gateway"}}]
    groups += [
        {
            "targets": [f"127.0.0.1:{replica.port}"],
            "labels": named | {"part": "engine", "release": f"v{release.number}", "replica": replica.name},
        }
        for release in deployment.releases
        for replica in release.replicas
    ]
    write_whole(home.path / "targets.json", orjson.dumps(groups).decode())
