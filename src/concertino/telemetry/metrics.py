"""What the gateway counts and times, in Prometheus' terms. No label ever carries content or a key."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from concertino.types import Decision, Outcome, Part, Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class Metrics:
    """One registry for one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "concertino_requests",
            "Requests by specialist, outcome, and the tier that decided or the code of the refusal",
            ["specialist", "outcome", "by"],
            registry=self.registry,
        )
        self.parts = Counter(
            "concertino_parts",
            "Parts of compound requests by specialist and how they ended",
            ["specialist", "state"],
            registry=self.registry,
        )
        self.errors = Counter("concertino_errors", "Errors by code", ["code"], registry=self.registry)
        self.tokens = Counter(
            "concertino_tokens", "Tokens by specialist and kind", ["specialist", "kind"], registry=self.registry
        )
        self.duration = Histogram(
            "concertino_request_seconds",
            "From the request to the last token",
            ["specialist"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.first_token = Histogram(
            "concertino_first_token_seconds",
            "From the decision to the first token",
            ["specialist"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.routing = Histogram(
            "concertino_routing_seconds",
            "Policy and router together",
            buckets=_FAST_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("concertino_in_flight", "Requests being answered", registry=self.registry)

    def count(
        self, decision: Decision, outcome: Outcome, usage: Usage, duration_s: float, first_token_s: float | None
    ) -> None:
        """One request that a specialist took on."""
        name = decision.specialist
        self.requests.labels(name, outcome.value, decision.tier.value).inc()
        self.tokens.labels(name, "prompt").inc(usage.prompt_tokens)
        self.tokens.labels(name, "completion").inc(usage.completion_tokens)
        self.duration.labels(name).observe(duration_s)
        if first_token_s is not None:
            self.first_token.labels(name).observe(first_token_s)

    def count_parts(self, parts: Sequence[Part]) -> None:
        """What became of the parts of a compound request."""
        for part in parts:
            self.parts.labels(part.specialist, part.state.value).inc()

    def undecided(self, outcome: Outcome, code: str) -> None:
        """One request that no specialist took on: refused, or failed while the choice was made."""
        self.requests.labels("none", outcome.value, code).inc()

    def render(self) -> bytes:
        """The text that a Prometheus server scrapes."""
        return generate_latest(self.registry)
