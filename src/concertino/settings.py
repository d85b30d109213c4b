"""What concertino.yaml may say: every setting declared once, with its default, frozen and typed.

`docs/configuration.md` is generated from these classes; `concertino.config` reads the file. Secrets never stand in it:
a backend's key is named by environment variable or file, an API key by its hash.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from concertino.template import TEXT

MOST_BEAMS = 8


class GatewaySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the endpoint listens and what it accepts."""

    host: str = "127.0.0.1"
    """Address to listen on. On any that other machines reach every request needs an API key."""
    port: int = 8420
    """0 takes a free one."""
    require_key: bool = False
    """True asks every caller for an API key on loopback too: behind a reverse proxy every caller looks local."""
    body_limit_bytes: int = 4 * 1024 * 1024
    """A larger body is refused with 413."""
    max_in_flight: int = 64
    """Requests being answered at once; one more is told 429 with Retry-After."""
    request_timeout_s: float = 300.0
    """Seconds after which a request is stopped."""


class BackendSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One backend: `type` is the name of a `concertino.backends` entry point, `options` are that type's own."""

    type: str
    """`llamacpp`, `encoder`, `http`, `echo`, or the name of a plugin."""
    options: dict[str, Any] = field(default_factory=dict)
    """docs/backends.md lists them by type."""


class LanguageTierSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The tier that asks a language model about requests that the tiers before it are unsure of."""

    skill: str = ""
    """`SPECIALIST/SKILL` that chooses among described specialists, such as `general/route`; empty: no such tier."""
    below: float = 0.5
    """Asked where the confidence before it is lower than this (0 to 1): more is slower."""
    weight: float = 0.5
    """Share of its opinion where the tiers before it know a domain too (0 to 1)."""
    timeout_s: float = 2.0
    """When it takes longer than this, the choice of the tiers before it stands."""


class RouterSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`type` is the name of a `concertino.routers` entry point, `options` are that type's own."""

    type: str = "linear"
    """`linear`, `knn`, `clusters`, `matrix-factorisation`, or the name of a plugin."""
    options: dict[str, Any] = field(default_factory=dict)
    """docs/routing.md lists them by type."""
    default: str = "general"
    """The specialist that answers when the router is unsure or nobody serves the domain."""
    conversations: bool = True
    """Follow conversations turn by turn. False leaves it to the router what it makes of several turns."""
    hand_over_price: float = 0.0
    """A conversation goes to another specialist only where that one's probability exceeds the present one's by more
    than this (0 to 1)."""
    quality_share: float = 0.9
    """`auto` takes the cheapest specialist with at least this share of the best one's predicted quality."""
    cheap_share: float = 0.5
    """The same for `auto:cheap`; for `auto:best` it is 1."""
    descriptions: str = ""
    """Folder with weights of the tier that reads descriptions (`concertino router train-descriptions`); empty: those of
    the package."""
    language: LanguageTierSettings = LanguageTierSettings()
    """The language-model tier."""


class WorkflowSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is done with a request to `auto` that asks several specialists for something."""

    enabled: bool = True
    """False: every request goes whole to one specialist."""
    planner: str = "segments"
    """`segments`: the request's own sentences and list items are its parts. `model`: the generalist plans."""
    answer: str = "parts"
    """`parts`: the answers one after another, each under a heading. `composed`: the generalist writes one of them."""
    max_parts: int = 6
    """2 to 6. What is asked beyond them is left out, and the answer says so."""
    concurrency: int = 2
    """Parts of one request that run at once. An engine of llama.cpp has four places for all requests."""
    deadline_s: float = 120.0
    """Parts that are not done by then are told as late; never more than 0.9 of `gateway.request_timeout_s`."""
    max_tokens: int = 2048
    """Tokens that all parts of a request may write together; a smaller `max_tokens` of the request comes first."""


class PolicySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What policy looks for, and who may see it."""

    detectors: tuple[str, ...] = ("identifiers", "health")
    """Names of `concertino.detectors` entry points. One that fails or is late counts as having fired."""
    detector_timeout_s: float = 1.0
    """Seconds that detectors have for a request."""
    phi_tag: str = "phi"
    """Only specialists with this compliance tag see health data (an identifier plus a health context)."""
    tenants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """tenant -> specialists it may use; a tenant that is not listed may use all."""


class AuditSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The audit log: who asked, what was decided, how it ended."""

    path: str = ""
    """SQLite file; empty means audit.db in the home folder."""
    keep_text: bool = False
    """False keeps a keyed digest of the content, true keeps the content itself."""


class KeySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """An API key by its hash, as `concertino keys create --print-config` prints it."""

    id: str
    """What audit records, budgets and logs call it."""
    sha256: str
    """SHA-256 of the secret, in hexadecimal digits."""
    tenant: str = "default"
    """Whose requests it makes."""


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """Per million tokens, in `currency`. A local model costs what you reckon its machine costs."""

    prompt: float = 0.0
    """For tokens that are read."""
    completion: float = 0.0
    """For tokens that are written."""
    currency: str = "USD"
    """One for the whole team: prices are compared as numbers."""


class Evaluation(Struct, frozen=True, forbid_unknown_fields=True):
    """The measurement that earned a specialist its place, in a sentence, with the command that repeats it."""

    summary: str
    """What was measured and what came out."""
    command: str = ""
    """What repeats it."""
    date: str = ""
    """When."""


class SkillCard(Struct, frozen=True, forbid_unknown_fields=True):
    """Something a specialist does with one text: an instruction, a response contract, a confidence threshold.

    The contract is `labels` (the answer is exactly one of them), or `json_schema`, or neither (free text).
    `threshold` is a calibrated confidence below which the answer is marked abstained; without one none is.
    `scope_threshold` does the same for how surely the text is one that the skill is for.
    """

    name: str
    """Callers ask `SPECIALIST/NAME`."""
    description: str
    """What it does, in a sentence."""
    instruction: str
    """The system message; `{labels}` in it stands for the labels."""
    labels: tuple[str, ...] = ()
    """The closed set of answers."""
    json_schema: dict[str, Any] | None = None
    """What the JSON of an answer must keep to."""
    threshold: float | None = None
    """From 0 to 1; none: no answer is marked abstained for its confidence."""
    scope_threshold: float | None = None
    """From 0 to 1; none: no answer is marked abstained for its scope."""
    text_temperature: float | None = None
    """Free text only: an answer's confidence is its probability by the model to the power of one over this, which is
    fitted on rows held back. Without it free text has no confidence."""
    max_tokens: int = 256
    """Tokens of the longest answer."""
    backend: str = ""
    """Runs this skill in place of the specialist's own backend; empty: the specialist's."""
    model: str = ""
    """The skill's own base model; empty: the specialist's."""
    adapter: str | None = None
    """Adapter of the skill's own, for its model; none: the specialist's, where the model is the specialist's too."""
    on_low_confidence: str = "abstain"
    """Below the threshold the answer is marked abstained, or the router's default specialist answers (`escalate`)."""
    version: str = ""
    """Content hash of the promoted version that this card came from; empty for a skill that is only prompted."""
    evaluation: Evaluation | None = None
    """What it was measured to do."""
    template: str = TEXT
    """What is read of a row of fields, as in a recipe's `data.sources`: a field, or a template such as
    `{text}\\n{contexts}`. `concertino run` fills it."""
    calculate: bool = False
    """An answer that begins with `=`, as `= (3-2)/2*100 percent`, is calculated, and the result sent in its place."""
    beams: int = 1
    """Free text only: how many answers are followed at each token, of which the likeliest is given (1 to 8). More find
    a likelier one, for several times the work; 1 is greedy decoding."""


class SpecialistCard(Struct, frozen=True, forbid_unknown_fields=True):
    """One member of the team."""

    name: str
    """What callers name in `model`."""
    description: str
    """What it is for, in a sentence or two. A specialist whose domain the router does not know is found by it."""
    backend: str
    """One of `backends`."""
    model: str
    """A name of the model catalogue for llamacpp, the upstream's model name for http."""
    system: str = ""
    """Put before the conversation when the caller sent no system message of its own."""
    domains: tuple[str, ...] = ()
    """The router's domains that this specialist serves; empty means its own name. A specialist that serves none which
    the router was trained on is found by `description` and `examples`."""
    examples: tuple[str, ...] = ()
    """Questions that are this specialist's, one a line. Ten make routing to a described specialist clearly better."""
    adapter: str | None = None
    """Path of a GGUF LoRA adapter for `model`, or none: then the specialist is only prompted."""
    knowledge: str = "optional"
    """Where answers in conversation come from. `optional`: the model, which is given passages of what was ingested for
    it (`concertino ingest`). `required`: quotes of that, or the statement that there is no source. `off`: the model."""
    advice: str = ""
    """A sentence that ends quoted answers and those for which no source was found."""
    scope: str = "off"
    """What is done with a question that the router is sure belongs to another specialist, when this one was named:
    `strict` says whose it is and no more, `note` says so and answers, `off` answers."""
    skills: tuple[SkillCard, ...] = ()
    """What it does with one text each."""
    compliance: tuple[str, ...] = ()
    """Tags such as `on_prem`, and `phi` for who may see health data (`policy.phi_tag`)."""
    context_tokens: int = 4096
    """Tokens of the longest conversation and its answer together."""
    temperature: float = 0.2
    """Where the caller names none."""
    max_tokens: int = 512
    """Tokens of the longest answer, where the caller names none."""
    price: Price = Price()
    """What `auto` compares and amounts of budgets count."""
    quality: float | None = None
    """Share of right answers (0 to 1), where specialists of one domain were measured alike: the choice between them
    prefers the higher one."""
    evaluation: Evaluation | None = None
    """What it was measured to do."""

    @property
    def serves(self) -> tuple[str, ...]:
        return self.domains or (self.name,)

    def skill(self, name: str) -> SkillCard | None:
        return next((skill for skill in self.skills if skill.name == name), None)

    def as_run(self, skill: SkillCard | None) -> "SpecialistCard":
        """The card with the backend, the model and the adapter that answer for `skill`: the skill's own, where it
        names them. The specialist's adapter is kept only where the skill runs on the specialist's model."""
        if skill is None:
            return self
        backend, model = skill.backend or self.backend, skill.model or self.model
        same = (backend, model) == (self.backend, self.model)
        adapter = skill.adapter or (self.adapter if same else None)
        return msgspec.structs.replace(self, backend=backend, model=model, adapter=adapter)


class EmbeddingCard(Struct, frozen=True, forbid_unknown_fields=True):
    """A model that turns texts into vectors. Health data goes to it only if it carries the phi tag."""

    model: str
    """A name of the model catalogue, or the upstream's model name for http."""
    backend: str
    """One of `backends`."""
    compliance: tuple[str, ...] = ()
    """Tags, as on a specialist."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All of concertino.yaml. What a file leaves out keeps its default; `specialists` defaults to the built-in team."""

    home: str = ""
    """Where models, keys and the audit log live; empty means CONCERTINO_HOME, or ~/.concertino."""
    gateway: GatewaySettings = GatewaySettings()
    """Where the endpoint listens and what it accepts."""
    router: RouterSettings = RouterSettings()
    """Who decides where a request goes."""
    workflow: WorkflowSettings = WorkflowSettings()
    """What is done with a request that asks several specialists."""
    policy: PolicySettings = PolicySettings()
    """What is looked for, and who may see it."""
    audit: AuditSettings = AuditSettings()
    """What is put on record."""
    database_url: str = ""
    """SQLAlchemy URL for keys, budgets and other state; empty means state.db in the home folder. Gateways that share it
    share the budgets."""
    backends: dict[str, BackendSettings] = field(default_factory=dict)
    """What runs models, by a name of your own."""
    specialists: tuple[SpecialistCard, ...] = ()
    """The team."""
    embeddings: tuple[EmbeddingCard, ...] = ()
    """Models behind `/v1/embeddings`."""
    keys: tuple[KeySettings, ...] = ()
    """API keys by their hash; `concertino keys` keeps others in the database."""

    @property
    def home_path(self) -> Path:
        return home_folder(self.home)

    @property
    def audit_path(self) -> Path:
        return Path(self.audit.path).expanduser() if self.audit.path else self.home_path / "audit.db"

    @property
    def state_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home_path / 'state.db'}"

    @property
    def served(self) -> frozenset[str]:
        """Every domain that somebody in the team serves."""
        return frozenset(domain for card in self.specialists for domain in card.serves)

    def card(self, name: str) -> SpecialistCard | None:
        return next((card for card in self.specialists if card.name == name), None)


def home_folder(configured: str = "") -> Path:
    """The folder for models, keys and logs: the setting, else CONCERTINO_HOME, else ~/.concertino."""
    return Path(configured or os.environ.get("CONCERTINO_HOME") or "~/.concertino").expanduser().absolute()
