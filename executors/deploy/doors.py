"""The doors of those without priority: deployment in, HAProxy's text for them out.

Where a deployment promises a latency to those who have priority, the rest reaches each release by a door: a server that
is the gateway itself, one step further on, and whose `maxconn` is how many may be with the engines. They wait before
it, and those who have priority pass them by. In the safe state nobody comes by a door, and it costs nothing.
"""

from executors.deploy.home import Home
from schemas.deployment import Deployment, Slot

REST = "-rest"
"""After a release's name: the backend before its door."""
DOOR = "door"
KEY = "doors"
"""In the map of shares: whether the rest comes by them."""

TEXT = """\
backend {slot}{rest}
    http-request deny deny_status 429 if {{ queue ge {queue_limit} }}
    server {door} unix@{home}/{slot}.sock maxconn {at_once}
frontend {slot}-{door}
    bind unix@{home}/{slot}.sock mode 600
    no log
    default_backend {slot}
"""


def text(home: Home, deployment: Deployment, queue_limit: int) -> str:
    """Both doors, each as wide as what stands behind it."""
    wide = {release.slot: len(release.replicas) * release.strategy.max_sequences for release in deployment.releases}
    return "".join(
        TEXT.format(slot=slot, rest=REST, door=DOOR, queue_limit=queue_limit, home=home.path, at_once=wide.get(slot, 1))
        for slot in Slot
    )
