"""The two records of a request, and their bytes. What stands in them is what the log promises; docs/audit.md lists it.

A record is canonical JSON (keys sorted, no blanks). Its hash is SHA-256(previous hash || those bytes), so that no
record can be changed, moved or taken out of the middle without breaking every hash after it.
"""

import hashlib
import hmac
import re
import time
from typing import Any

import msgspec
from msgspec import Struct, field

from concertino.types import Decision, FinishReason, Outcome, Part, Principal, Usage, Verdict

GENESIS = bytes(32)
"""The hash before the first record."""

_CODE = re.compile(r"[a-z0-9_.-]{1,64}")


class Begin(Struct, frozen=True):
    """What is known before the first byte of an answer leaves. `content` is what the caller sent.

    `id` is the server's own request id, never one that a client chose. Without a Decision (a refusal, an unknown
    model) the Verdict alone may be given.
    """

    id: str
    principal: Principal
    model: str
    content: bytes
    decision: Decision | None = None
    verdict: Verdict | None = None
    model_hashes: dict[str, str] = field(default_factory=dict)
    """Model or adapter name -> SHA-256 of its bytes."""
    names: frozenset[str] = frozenset()
    """What `model` may be at this team: only such a name is stored in clear."""
    time: float = field(default_factory=time.time)


class End(Struct, frozen=True):
    """How it ended. An error is stored by its code: its message may quote what the caller wrote."""

    id: str
    outcome: Outcome
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    error_code: str | None = None
    duration_s: float = 0.0
    first_token_s: float | None = None
    output: bytes = b""
    answered_by: str | None = None
    """The specialist that answered: the Decision's, unless it could not be reached and another took over."""
    sources: tuple[str, ...] = ()
    """Ids of the passages that the answer quotes or was written from."""
    parts: tuple[Part, ...] = ()
    """Who was asked for which part of a compound request, how it ended and what it took; their words are left out."""
    time: float = field(default_factory=time.time)


class Encoder:
    """Records -> the plain mapping that is stored. `key` is the digest key; content is kept only with `keep_text`."""

    def __init__(self, key: bytes, *, keep_text: bool) -> None:
        self._key = key
        self._keep_text = keep_text

    def digest(self, content: bytes) -> str:
        """Keyed, so that a guess at a short content cannot be checked by whoever has only the log (RFC 2104)."""
        return "hmac-sha256:" + hmac.new(self._key, content, hashlib.sha256).hexdigest()

    def begin(self, record: Begin) -> dict[str, Any]:
        verdict = record.verdict or (record.decision.verdict if record.decision else None)
        return {
            "kind": "begin",
            "id": record.id,
            "time": record.time,
            "key_id": record.principal.key_id,
            "tenant": record.principal.tenant,
            "model": self._model(record, verdict),
            "decision": self._decision(record.decision),
            "verdict": None if record.decision else msgspec.to_builtins(verdict),
            "model_hashes": record.model_hashes,
            **self._content("content", record.content),
        }

    def end(self, record: End) -> dict[str, Any]:
        code = record.error_code
        return {
            "kind": "end",
            "id": record.id,
            "time": record.time,
            "outcome": record.outcome.value,
            "answered_by": record.answered_by,
            "sources": list(record.sources),
            "usage": msgspec.to_builtins(record.usage),
            "finish_reason": record.finish_reason.value if record.finish_reason else None,
            # A code is a stable word; anything else came from elsewhere and may quote.
            "error_code": code if code is None or _CODE.fullmatch(code) else "unlisted_error",
            "duration_s": round(record.duration_s, 6),
            "first_token_s": None if record.first_token_s is None else round(record.first_token_s, 6),
            **self._content("output", record.output),
            **self._parts(record.parts),
        }

    def _parts(self, parts: tuple[Part, ...]) -> dict[str, Any]:
        """Only a compound request has the field."""
        told = [msgspec.to_builtins(part) | {"task": self._words(part.task)} for part in parts]
        return {"parts": told} if told else {}

    def _content(self, name: str, content: bytes) -> dict[str, Any]:
        fields: dict[str, Any] = {f"{name}_digest": self.digest(content), f"{name}_bytes": len(content)}
        if self._keep_text:
            fields[name] = content.decode("utf-8", "replace")
        return fields

    def _decision(self, decision: Decision | None) -> Any:
        """A plan holds words of the request, which stand here as the request itself does."""
        fields = msgspec.to_builtins(decision)
        if decision is not None and decision.plan is not None:
            for task in fields["plan"]["tasks"]:
                task["text"] = self._words(task["text"])
        return fields

    def _words(self, text: str) -> str:
        return text if self._keep_text else self.digest(text.encode("utf-8", "replace"))

    def _model(self, record: Begin, verdict: Verdict | None) -> str:
        """The model asked for, in clear only where it is a name of the team: the field is free text to a caller."""
        if record.model in record.names:
            return record.model
        known = {"auto", "auto:cheap", "auto:best"}
        known |= {*(verdict.eligible if verdict else ()), *(verdict.excluded if verdict else ())}
        name, _, skill = record.model.partition("/")
        if record.decision:
            known.add(record.decision.specialist)
        if name in known and (not skill or (record.decision is not None and skill == record.decision.skill)):
            return record.model
        return self.digest(record.model.encode("utf-8", "replace"))


def canonical(fields: dict[str, Any]) -> bytes:
    """The bytes of a record: JSON with sorted keys."""
    return msgspec.json.encode(fields, order="deterministic")


def chain(previous: bytes, body: bytes) -> bytes:
    """The hash of a record that follows `previous`."""
    return hashlib.sha256(previous + body).digest()
