"""What priority traffic went through in, how many of the rest may be with the engines out: pure.

More sequences in a batch make each of them slower, so a slot for those who have priority is not enough. The limit goes
as TCP's does: half as soon as one request of a high priority was late, one more after enough that were not, where
somebody waits (additive increase, multiplicative decrease; Chiu and Jain 1989). What was not used beside them was not
tried, and is taken back (RFC 7661), so that a spike begins with what they are known to bear. Without them it doubles. A
slot or more of each replica are out of its reach.
"""

from schemas.limits import LimitDecision, LimitState, Promise, Traffic


def ceiling(slots: int, replicas: int, promise: Promise) -> int:
    """Requests without priority at the most, at least one."""
    return max(1, replicas * (slots - promise.reserve))


def limit(traffic: Traffic, before: LimitState | None, promise: Promise) -> LimitDecision:
    """One look. The same looks give the same decisions."""
    top = ceiling(traffic.slots, traffic.replicas, promise)
    if before is None:
        return _to(top, "all but what is kept for priority", traffic)
    if traffic.replicas != before.replicas or before.limit > top:
        scaled = round(before.limit * traffic.replicas / before.replicas)
        return _to(min(top, max(1, scaled)), f"{traffic.replicas} replicas instead of {before.replicas}", traffic)
    seen = [row for row in traffic.urgent if row.at_s >= before.changed_s]
    late = sum(row.failed or row.total_ms > promise.p95_ms for row in seen)
    if late:
        halved = max(1, before.limit // 2)
        why = f"{late} with priority took longer than {promise.p95_ms:g} ms"
        return _to(halved, why if halved != before.limit else "", traffic)
    kept, peak = before.kept + len(seen), max(before.peak, traffic.inside)
    if kept >= promise.enough:
        proven = min(top, before.limit + 1) if traffic.queued else max(1, min(peak, before.limit))
        if proven != before.limit:
            why = f"{kept} with priority kept to {promise.p95_ms:g} ms beside {peak}, and {traffic.queued} wait"
            return _to(proven, why, traffic)
    if not kept and traffic.queued and before.limit < top and traffic.at_s - before.changed_s >= promise.quiet_s:
        return _to(min(top, 2 * before.limit), f"{traffic.queued} wait, and nobody has priority", traffic)
    state = before.model_copy(update={"kept": kept, "peak": peak})
    return LimitDecision(limit=before.limit, why="", state=state)


def _to(limit: int, why: str, traffic: Traffic) -> LimitDecision:
    state = LimitState(limit=limit, replicas=traffic.replicas, changed_s=traffic.at_s)
    return LimitDecision(limit=limit, why=why, state=state)
