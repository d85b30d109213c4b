"""Services whose specialists say what a test wants, over a router that goes by words."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from concertino.audit.log import AuditLog
from concertino.backends.base import BackendContext, Capability, Generation
from concertino.backends.echo import EchoBackend
from concertino.config import build
from concertino.errors import BackendError, BackendUnavailable
from concertino.orchestrator.decider import Decider, specialist_facts
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.service import Service
from concertino.policy.rules import Policy
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics
from concertino.types import Chunk, FinishReason, Message, Ranking, Request, Role, Usage
from tests.teams import DOMAINS, echo_team

WORDS = {
    "code": ("python", "regex", "sql"),
    "legal": ("clause", "lien", "lawsuit"),
    "finance": ("mortgage", "account"),
    "medical": ("anemia", "fever", "aspirin"),
    "general": ("dinner", "poem", "river"),
}
THREE = "What is a lien? And also write a Python function that adds. Additionally, what helps against a fever?"


class ByWords:
    """A router that goes by the first word of a domain that it finds, and is else unsure."""

    def rank(self, conversations: Sequence[Sequence[Message]]) -> list[Ranking]:
        return [self._rank(conversation[-1].text.lower()) for conversation in conversations]

    @staticmethod
    def _rank(text: str) -> Ranking:
        places = {
            domain: min((text.find(w) for w in words if w in text), default=-1) for domain, words in WORDS.items()
        }
        named = sorted((place, domain) for domain, place in places.items() if place >= 0)
        if not named:
            return Ranking(dict.fromkeys(DOMAINS, 0.2), 0.2, None, "unsure")
        best = named[0][1]
        return Ranking(
            {domain: 0.95 if domain == best else 0.01 for domain in DOMAINS}, 0.95, best, f"reads like {best}"
        )


class Saying(EchoBackend):
    """Answers `WHO: question`; or one of `answers`; or fails as told. Keeps what it was asked."""

    def __init__(self, who: str, asked: list[tuple[str, Generation]], **how: Any) -> None:
        super().__init__(BackendContext(who, {}, (), Path))
        self.who, self.asked = who, asked
        self.answers: list[str] = list(how.get("answers", ()))
        self.fails, self.breaks, self.pause_s = (
            how.get("fails", False),
            how.get("breaks", False),
            how.get("pause_s", 0.0),
        )
        self.lingers_s: float = how.get("lingers_s", 0.0)
        """How long it takes to let go when it is stopped."""
        self.running = self.most_running = self.stopped = 0
        self.capabilities = EchoBackend.capabilities | ({Capability.JSON_SCHEMA} if how.get("schemas", True) else set())

    async def generate(self, generation: Generation) -> AsyncIterator[Chunk]:
        self.asked.append((self.who, generation))
        if self.fails:
            raise BackendUnavailable(f"{self.who} is not there")
        said = self.answers.pop(0) if self.answers else f"{self.who}: {generation.messages[-1].text}"
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for word in said.split(" "):
                await asyncio.sleep(self.pause_s)
                yield Chunk(text=word + " ")
            if self.breaks:
                raise BackendError(f"{self.who} broke off")
            yield Chunk(finish_reason=FinishReason.STOP, usage=Usage(10, 5, 2))
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            await asyncio.sleep(self.lingers_s)
            raise
        finally:
            self.running -= 1


Make = Callable[..., Service]


def make_service(tmp_path: Path, asked: list[tuple[str, Generation]], **changes: Any) -> Service:
    """A team of five, each with a Saying of its own. `how` names what is special about one; the rest are settings."""
    how: dict[str, dict[str, Any]] = changes.pop("how", {})
    audit = changes.pop("audit", "")
    raw = echo_team(home=str(tmp_path / "home"), **changes)
    for card in raw["specialists"]:
        card["backend"] = card["name"]
        raw["backends"][card["name"]] = {"type": "echo"}
    settings = build(raw, "a test")
    pool = Pool(settings, Path, lambda card: f"sha256:{card.name}")
    for name in DOMAINS:
        backend = Saying(name, asked, **how.get(name, {}))
        pool.backends[name] = backend
        pool._specialists[name] = structs.replace(pool.get(name), backend=backend)
    decider = Decider(settings, pool, Policy(settings.policy, specialist_facts(pool)), ByWords())
    log = AuditLog(Path(audit) if audit else tmp_path / "audit.db", key_path=tmp_path / "audit.key")
    return Service(settings, pool, decider, Recorder(log), Metrics())


def ask(text: str, *before: Message, **fields: Any) -> Request:
    return Request((*before, Message(Role.USER, text)), **fields)
