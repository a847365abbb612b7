"""Arrivals and step times in, latency percentiles out: continuous batching simulated iteration by iteration.

Each iteration decodes one token of every running sequence and fills what is left of its token budget with prompts, in
the order of arrival (chunked prefill, Sarathi-Serve, arXiv 2403.02310), as far as sequences and KV cache have room.
Without chunking a prompt runs alone and whole. Deterministic: arrivals come from a seed or from a trace.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PrefillSeconds = Callable[[float], float]
"""Prompt tokens of one pass -> the seconds they take."""
DecodeSeconds = Callable[[float, float], float]
"""Running sequences and their mean context -> the seconds of one step."""

_STRIDE = 32


@dataclass(frozen=True)
class Server:
    """One replica. `tokens` of an iteration, `sequences` at once, `cache_tokens` of KV cache at the most."""

    sequences: int
    tokens: int
    cache_tokens: float
    chunked: bool = True
    joins: bool = True
    """Whether requests join those that run; else they wait for the end of the batch."""
    admission_s: float = 0.0
    """Seconds between a request's arrival and its being seen by the scheduler."""


@dataclass(frozen=True)
class Request:
    """One request: seconds after the start, tokens of prompt and answer."""

    arrival: float
    prompt: int
    answer: int


@dataclass(frozen=True)
class Spread:
    """Percentiles of one metric, in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Simulation:
    """What the requests saw; `served_s` is from the first arrival to the last token."""

    ttft: Spread
    tpot: Spread
    latency: Spread
    served_s: float
    output_tok_s: float


def poisson(rate: float, count: int, prompt: int, answer: int, *, seed: int, varied: float = 0.0) -> list[Request]:
    """`count` requests at `rate` a second; lengths vary uniformly by the share `varied` either way."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.exponential(1 / rate, count))
    spread = random.uniform(1 - varied, 1 + varied, (2, count))
    prompts = np.maximum(np.rint(prompt * spread[0]), 1).astype(int)
    answers = np.maximum(np.rint(answer * spread[1]), 1).astype(int)
    return [Request(*row) for row in zip(times.tolist(), prompts.tolist(), answers.tolist(), strict=True)]


def closed(concurrency: int, count: int, prompt: int, answer: int) -> list[Request]:
    """`count` requests for `simulate(..., open_requests=concurrency)`: none waits for a clock."""
    return [Request(0.0, prompt, answer) for _ in range(max(count, concurrency))]


def simulate(
    server: Server,
    prefill: PrefillSeconds,
    decode: DecodeSeconds,
    requests: Sequence[Request],
    *,
    open_requests: int | None = None,
    warmup: float = 0.1,
) -> Simulation:
    """Percentiles over `requests` but the first share `warmup` of them.

    With `open_requests` a closed loop: only so many are open, and the next arrives as one ends.

    Raises:
        ValueError: if there are no requests, or one does not fit into the cache by itself.
    """
    if not requests or max(request.prompt + request.answer for request in requests) > server.cache_tokens:
        raise ValueError("there must be requests, and the cache must hold the longest of them")
    run = _Run(server, prefill, decode, requests, open_requests or len(requests))
    run.to_the_end()
    return run.summary(int(len(requests) * warmup))


class _Run:
    """The state of one simulation: the clock, who waits, reads or writes, and when each request's tokens came.

    All writing sequences advance together, so each is kept as the step at which it ends, in a heap.
    """

    def __init__(
        self,
        server: Server,
        prefill: PrefillSeconds,
        decode: DecodeSeconds,
        requests: Sequence[Request],
        open_requests: int,
    ) -> None:
        self.server, self.prefill, self.decode, self.requests = server, prefill, decode, requests
        self.clock = 0.0
        self.arrived = [request.arrival + server.admission_s for request in requests]
        self.first = [0.0] * len(requests)
        self.last = [0.0] * len(requests)
        self.next = min(open_requests, len(requests))
        self.waiting = deque(range(self.next))
        self.reading: deque[list[int]] = deque()
        self.writing: list[tuple[int, int]] = []
        self.steps = self.context = self.reserved = 0

    def to_the_end(self) -> None:
        """Iterate until every request has its last token."""
        while self.waiting or self.reading or self.writing:
            self._admit()
            if self.reading or self.writing:
                self._iterate()
            else:
                self.clock = self.arrived[self.waiting[0]]

    def _admit(self) -> None:
        """Let waiting requests in, in order, while a sequence and the cache for all their tokens are free."""
        if not self.server.joins and (self.reading or self.writing):
            return
        while self.waiting and len(self.reading) + len(self.writing) < self.server.sequences:
            index = self.waiting[0]
            request = self.requests[index]
            need = request.prompt + request.answer
            if self.arrived[index] > self.clock or self.reserved + need > self.server.cache_tokens:
                return
            self.waiting.popleft()
            self.reserved += need
            self.reading.append([index, request.prompt])

    def _iterate(self) -> None:
        """One engine iteration; several at once where nothing can change between them."""
        chunked, running = self.server.chunked, len(self.writing)
        taken, done = self._read(max(self.server.tokens - (running if chunked else 0), 1))
        decodes = running and (chunked or not taken)
        seconds = self.prefill(float(taken)) if taken else 0.0
        if decodes:
            seconds += self.decode(float(running), self.context / running)
        steps = 1 if taken else self._uneventful(seconds)
        self.clock += seconds * steps
        if decodes:
            self.steps += steps
            self.context += running * steps
            while self.writing and self.writing[0][0] <= self.steps:
                self._end(heappop(self.writing)[1])
        for index in done:
            self._begin(index)

    def _read(self, budget: int) -> tuple[int, list[int]]:
        """Prompt tokens taken in this iteration, and the requests whose prompt it finishes."""
        taken, done = 0, []
        while self.reading and taken < budget:
            head = self.reading[0]
            part = min(head[1], budget - taken) if self.server.chunked else head[1]
            head[1] -= part
            taken += part
            if head[1]:
                break
            done.append(self.reading.popleft()[0])
        return taken, done

    def _uneventful(self, seconds: float) -> int:
        """Steps until a sequence ends or a request can come in; few enough that the context hardly grows."""
        steps = min(self.writing[0][0] - self.steps, _STRIDE)
        if self.waiting and len(self.writing) < self.server.sequences:
            pause = self.arrived[self.waiting[0]] - self.clock
            if pause > 0:
                steps = min(steps, int(pause / seconds) + 1)
        return max(steps, 1)

    def _begin(self, index: int) -> None:
        """A prompt is read: its first token is out."""
        request = self.requests[index]
        self.first[index] = self.clock
        self.context += request.prompt + 1
        if request.answer > 1:
            heappush(self.writing, (self.steps + request.answer - 1, index))
        else:
            self._end(index)

    def _end(self, index: int) -> None:
        """A sequence has its last token: free its room, and in a closed loop let the next request come."""
        request = self.requests[index]
        self.last[index] = self.clock
        self.context -= request.prompt + request.answer
        self.reserved -= request.prompt + request.answer
        if self.next < len(self.requests):
            self.arrived[self.next] = max(self.clock, self.arrived[self.next])
            self.waiting.append(self.next)
            self.next += 1

    def summary(self, skipped: int) -> Simulation:
        """Percentiles over the requests after the first `skipped`."""
        arrived = np.array(self.arrived[skipped:]) - self.server.admission_s
        first, last = np.array(self.first[skipped:]), np.array(self.last[skipped:])
        answers = np.array([request.answer for request in self.requests])
        later = np.maximum(answers[skipped:] - 1, 1)
        served = max(self.last) - self.arrived[0] + self.server.admission_s
        return Simulation(
            ttft=_percentiles(first - arrived),
            tpot=_percentiles((last - first) / later),
            latency=_percentiles(last - arrived),
            served_s=served,
            output_tok_s=float(answers.sum()) / served,
        )


def _percentiles(seconds: Floats) -> Spread:
    p50, p95, p99 = np.quantile(seconds, (0.5, 0.95, 0.99)) * 1e3
    return Spread(float(p50), float(p95), float(p99))
