"""The nouns that travel: what a client asks, what was decided, what came back.

All of them are frozen msgspec structs, and the same objects are used in process and on the wire.
"""

from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Tier(StrEnum):
    """Who decided where a request goes."""

    PINNED = "pinned"
    """The caller named the specialist."""
    POLICY = "policy"
    """Policy left one candidate, so there was nothing to choose."""
    LINEAR = "linear"
    """The linear head was sure."""
    NEIGHBOURS = "neighbours"
    """The linear head was not sure, and the nearest training texts had a say."""
    DESCRIPTIONS = "descriptions"
    """The request fits the description or the examples of a specialist that the head does not know."""
    LANGUAGE = "language"
    """The tiers before were unsure, and a language model read the descriptions."""
    DEFAULT = "default"
    """The router was unsure and abstained to the generalist."""
    SEVERAL = "several"
    """The request asks several specialists for something; `Decision.plan` says whom for what."""


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Outcome(StrEnum):
    """How a request ended, as the audit log tells it."""

    COMPLETED = "completed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PlannedBy(StrEnum):
    """Who divided a request into parts."""

    SEGMENTS = "segments"
    """Its own sentences and list items."""
    MODEL = "model"
    """The generalist."""


class PartState(StrEnum):
    """How far a part of a compound request is."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """Its specialist could not answer, or policy does not let anybody see what it builds on."""
    LATE = "late"
    """The deadline of the whole request came first; what was written until then is kept."""
    SKIPPED = "skipped"
    """It builds on a part that has no answer."""
    CANCELLED = "cancelled"
    """The whole request was stopped before it had ended."""


class FunctionCall(Struct, frozen=True):
    name: str
    arguments: str


class ToolCall(Struct, frozen=True):
    id: str
    function: FunctionCall
    type: str = "function"


class ContentPart(Struct, frozen=True):
    """One part of a message's content. Only `text` parts can be read by the engines of today."""

    type: str
    text: str | None = None


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    content: str | tuple[ContentPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content as plain text; parts are joined by newlines."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text or "" for part in self.content)


class Sampling(Struct, frozen=True, omit_defaults=True):
    """How tokens are drawn. A field left unset means the engine's own default."""

    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stop: tuple[str, ...] = ()
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    logprobs: bool = False
    top_logprobs: int = 0


class Limits(Struct, frozen=True, omit_defaults=True):
    """What a caller allows an answer of `auto` to take."""

    max_latency_ms: float | None = None
    """Until the first token of a stream, or the last of a whole answer."""
    max_cost: float | None = None
    """In the currency of the cards' prices."""
    first_token: bool = False
    """Whether the answer is streamed, so that the first token counts."""


class Request(Struct, frozen=True):
    """A chat request as the team understands it, whichever protocol it came in by.

    `model` is `auto`, `auto:cheap`, `auto:best`, a specialist's name, or `specialist/skill`. `tools`, `tool_choice`
    and `response_format` stay in their OpenAI form; `extra` keeps fields that Concertino does not know, for engines
    that may.
    """

    messages: tuple[Message, ...]
    model: str = "auto"
    sampling: Sampling = Sampling()
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()

    @property
    def text(self) -> str:
        """Every word a model would read, for detectors that must see all of it."""
        return "\n".join(message.text for message in self.messages)


class Principal(Struct, frozen=True):
    """Who is asking. Without API keys there is one: the local user."""

    key_id: str = "local"
    tenant: str = "default"


class Facts(Struct, frozen=True):
    """What policy established about a request. A detector that failed is named, and counts as having fired."""

    tenant: str
    needs_tools: bool = False
    needs_json_schema: bool = False
    identifiers: tuple[str, ...] = ()
    health_terms: tuple[str, ...] = ()
    failed_detectors: tuple[str, ...] = ()
    health_data: bool = False


class Verdict(Struct, frozen=True):
    """Which specialists may see a request: `eligible` in the team's order, `excluded` with a reason for each."""

    eligible: tuple[str, ...]
    excluded: dict[str, str] = field(default_factory=dict)
    facts: Facts = Facts(tenant="default")


class Ranking(Struct, frozen=True):
    """What a router says: a calibrated probability for each domain it knows, best first, and its choice.

    `domain` is None where the router abstains; `confidence` is the best domain's probability either way. `tier` is who
    decided.
    """

    scores: dict[str, float]
    confidence: float
    domain: str | None
    reason: str
    tier: Tier = Tier.LINEAR
    earlier: tuple[str | None, ...] = ()
    """The domain of each earlier turn of the user's, where the router follows conversations; None where it abstained
    or did not read it."""


class Referral(Struct, frozen=True):
    """The specialist that a request seems to be for, where another one was named."""

    specialist: str
    confidence: float
    """The router's, that the request is in that specialist's domain."""
    instead: bool
    """True where the referral is the whole answer, false where it stands before one."""


class SubTask(Struct, frozen=True):
    """One part of a compound request: what is asked of whom, after which other parts.

    `id` counts from 1 in the order of the answer; `depends_on` holds ids whose answers this part is given.
    """

    id: int
    text: str
    specialist: str
    depends_on: tuple[int, ...] = ()
    confidence: float = 1.0
    """The router's, in this part's domain."""
    reason: str = ""


class Plan(Struct, frozen=True):
    """A compound request as a graph of at most six parts. `left_out` counts what was asked beyond them."""

    tasks: tuple[SubTask, ...]
    left_out: int = 0
    planned_by: PlannedBy = PlannedBy.SEGMENTS

    @property
    def specialists(self) -> tuple[str, ...]:
        """Who is asked, in the order of the parts, each once."""
        return tuple(dict.fromkeys(task.specialist for task in self.tasks))


class Decision(Struct, frozen=True):
    """Who answers, how sure, which tier decided, and why. `/v1/route`, headers and audit all show this object."""

    specialist: str
    confidence: float
    tier: Tier
    reason: str
    skill: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    verdict: Verdict = Verdict(eligible=())
    referral: Referral | None = None
    domain: str | None = None
    """What the router says that the request is about; None where it was not asked or abstained."""
    earlier: tuple[str, ...] = ()
    """The specialist of each earlier turn of the user's, as the router finds it again from the conversation."""
    plan: Plan | None = None
    """For a compound request, whose `specialist` is then `several`."""


class Usage(Struct, frozen=True):
    """Tokens read, written, and read from the prefix cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


class Part(Struct, frozen=True):
    """What became of one part of a compound request. `error` is a code of docs/errors.md."""

    id: int
    specialist: str
    """Who answered, or was to."""
    task: str
    state: PartState
    usage: Usage = Usage()
    error: str | None = None


class Embeddings(Struct, frozen=True):
    """One unit-length vector per text, in order, and the tokens that were read."""

    vectors: list[list[float]]
    prompt_tokens: int


class TopLogprob(Struct, frozen=True):
    token: str
    logprob: float


class TokenLogprob(Struct, frozen=True):
    """One generated token, its natural-log probability, and its likeliest rivals (itself included)."""

    token: str
    logprob: float
    top: tuple[TopLogprob, ...] = ()


class Chunk(Struct, frozen=True):
    """One step of a generation. The last chunk carries `finish_reason`; usage comes with it or after it.

    `confidence` is set by engines that say themselves how sure they are of a label, `scope` by those that say how
    surely the text is one that the adapter is for. `part` tells that a part of a
    compound request has begun or ended; such a chunk has no text.
    """

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    confidence: float | None = None
    scope: float | None = None
    part: Part | None = None


class Answer(Struct, frozen=True):
    """A finished answer. `confidence`, `abstained`, `scope` and `escalated` are set for skills only.

    `scope` is the probability that the text is one that the skill is for, where that is told apart from how sure the
    answer is. `escalated` names the specialist that answered because the skill was not sure enough; `confidence` is
    then that specialist's own, which nobody calibrated. `parts` tell who gave what of an answer that several gave.
    """

    id: str
    text: str
    specialist: str
    decision: Decision
    usage: Usage
    finish_reason: FinishReason = FinishReason.STOP
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    confidence: float | None = None
    abstained: bool = False
    scope: float | None = None
    escalated: str | None = None
    parts: tuple[Part, ...] = ()
