"""The OpenAI protocol: chat completions, models, embeddings."""

from typing import Any

import msgspec

from concertino.errors import UnknownModel
from concertino.gateway.call import Call, Reply, header_pairs
from concertino.gateway.openai_request import Chat, parse_chat, parse_embeddings, with_limits
from concertino.gateway.openai_response import (
    ChunkWriter,
    completion,
    decision_headers,
    embeddings_object,
)
from concertino.orchestrator.run import Run
from concertino.orchestrator.workflow import Workflow


async def chat_completions(call: Call) -> Reply | None:
    """`POST /v1/chat/completions`, streamed and whole."""
    chat = parse_chat(with_limits(call.json(), call.headers))
    async with call.service.answering(chat.request, call.principal, call.request_id) as run:
        if chat.stream:
            await _stream(call, chat, run)
            return None
        async for _ in run.chunks():
            pass
    answer = run.answer()
    body = completion(answer, chat.show_decision, _fingerprint(run))
    return Reply.json(body, headers=decision_headers(answer.decision))


async def _stream(call: Call, chat: Chat, run: Run | Workflow) -> None:
    headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        **decision_headers(run.decision),
    }
    await call.send({"type": "http.response.start", "status": 200, "headers": header_pairs(headers)})
    writer = ChunkWriter(run.id, run.decision, _fingerprint(run), chat.include_usage)

    async def frame(value: dict[str, Any]) -> None:
        await call.send({"type": "http.response.body", "body": sse_frame(value), "more_body": True})

    await frame(writer.first(run.decision if chat.show_decision else None))
    async for chunk in run.chunks():
        piece = writer.piece(chunk)
        if piece is not None:
            await frame(piece)
    await frame(writer.last(run.answer()))
    if chat.include_usage:
        await frame(writer.usage(run.usage))
    await call.send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def sse_frame(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _fingerprint(run: Run | Workflow) -> str:
    """Changes with the base and with the adapter: the first digits of both hashes."""
    model_hash = run.model_hash if isinstance(run, Workflow) else run.target.specialist.model_hash
    base, *adapter = model_hash.split("+sha256:")
    return "+".join([base[:19], *(digest[:12] for digest in adapter)])


async def list_models(call: Call) -> Reply:
    """`GET /v1/models`: auto, every specialist, every skill, every embedding model."""
    return Reply.json({"object": "list", "data": _models(call)})


async def show_model(call: Call) -> Reply:
    """`GET /v1/models/NAME`."""
    name = call.path.removeprefix("/v1/models/")
    for model in _models(call):
        if model["id"] == name:
            return Reply.json(model)
    raise UnknownModel(f"No model {name[:80]!r} here. GET /v1/models lists them.", param="model")


def _models(call: Call) -> list[dict[str, Any]]:
    def row(name: str, kind: str, description: str, **own: Any) -> dict[str, Any]:
        about = {"kind": kind, "description": description, **own}
        return {
            "id": name,
            "object": "model",
            "created": call.service.created,
            "owned_by": "concertino",
            "concertino": about,
        }

    rows = [row("auto", "router", "The router chooses the specialist for each request.")]
    rows.append(row("auto:cheap", "router", "Like auto; less quality is accepted for a lower price."))
    rows.append(row("auto:best", "router", "Like auto; the price does not count."))
    for specialist in call.service.pool:
        card = specialist.card
        rows.append(
            row(
                card.name,
                "specialist",
                card.description,
                base=card.model,
                model_hash=specialist.model_hash,
                tuned=card.adapter is not None,
                capabilities=sorted(specialist.capabilities),
                compliance=list(card.compliance),
                context_tokens=card.context_tokens,
                price=msgspec.to_builtins(card.price),
                evaluation=msgspec.to_builtins(card.evaluation),
            )
        )
        for skill in card.skills:
            name = f"{card.name}/{skill.name}"
            target = call.service.pool.target(name)
            assert target is not None
            about = {
                "template": skill.template,
                "calculate": skill.calculate,
                "beams": skill.beams,
                "labels": list(skill.labels),
                "threshold": skill.threshold,
                "scope_threshold": skill.scope_threshold,
                "on_low_confidence": skill.on_low_confidence,
                "base": target.specialist.card.model,
                "model_hash": target.specialist.model_hash,
                "tuned": target.specialist.card.adapter is not None,
                "version": skill.version or None,
                "evaluation": msgspec.to_builtins(skill.evaluation),
            }
            rows.append(row(name, "skill", skill.description, **about))
    rows += [row(card.model, "embedding", "Texts to vectors.") for card in call.service.settings.embeddings]
    return rows


async def embeddings(call: Call) -> Reply:
    """`POST /v1/embeddings`."""
    body = parse_embeddings(call.json())
    texts = [body.input] if isinstance(body.input, str) else list(body.input)
    made = await call.service.embed(body.model, texts, call.principal, call.request_id)
    as_base64 = body.encoding_format == "base64"
    return Reply.json(embeddings_object(body.model, made.vectors, as_base64, made.prompt_tokens))
