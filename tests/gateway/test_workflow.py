"""Compound requests over HTTP: the plan, the parts, the progress, through the official client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from concertino.audit.read import AuditReader
from concertino.cli.client import GatewayClient
from concertino.types import PartState
from tests.gateway.serving import Gateway, gateway
from tests.orchestrator.workflows import ask
from tests.teams import echo_team

THREE = (
    "What does an indemnification clause do? And also write a Python function that reverses a linked list. "
    "Additionally, what are the symptoms of iron deficiency anaemia?"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(echo_team(home=str(folder / "home")), folder) as up:
        yield up


@pytest.fixture
def client(running: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def test_the_plan_is_shown_and_nothing_is_run(running: Gateway) -> None:
    shown = httpx.post(f"{running.url}/v1/plan", json={"text": THREE})
    body = shown.json()
    assert (shown.status_code, body["compound"], body["planned_by"], body["left_out"]) == (200, True, "segments", 0)
    assert [(task["id"], task["specialist"], task["depends_on"]) for task in body["tasks"]] == [
        (1, "legal", []),
        (2, "code", []),
        (3, "medical", []),
    ]
    assert body["limits"]["parts"] == 6
    assert shown.headers["x-concertino-specialist"] == "several"
    assert shown.headers["x-concertino-parts"] == "legal, code, medical"
    route = httpx.post(f"{running.url}/v1/route", json={"text": THREE}).json()
    assert route == body["decision"]
    assert (route["specialist"], route["tier"]) == ("several", "several")


def test_a_request_for_one_has_a_plan_of_one_part(running: Gateway) -> None:
    body = httpx.post(f"{running.url}/v1/plan", json={"text": "Write a Python function that reverses a list."}).json()
    assert (body["compound"], body["planned_by"]) == (False, None)
    assert [(task["specialist"], task["text"]) for task in body["tasks"]] == [
        ("code", "Write a Python function that reverses a list.")
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"text": 5}, 400, "invalid_request"),
        ({"text": THREE, "model": "nobody"}, 404, "model_not_found"),
        ({"text": THREE, "tools": 3}, 400, "invalid_request"),
    ],
)
def test_what_cannot_be_planned_is_told_why(running: Gateway, body: Any, status: int, code: str) -> None:
    refused = httpx.post(f"{running.url}/v1/plan", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)


def test_a_whole_answer_tells_its_parts(client: openai.OpenAI, running: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=[{"role": "user", "content": THREE}])
    answer = raw.parse()
    assert answer.model == "several"
    assert raw.headers["x-concertino-parts"] == "legal, code, medical"
    own: Any = answer.model_extra["concertino"]  # type: ignore[index]
    assert [(part["specialist"], part["state"]) for part in own["parts"]] == [
        ("legal", "completed"),
        ("code", "completed"),
        ("medical", "completed"),
    ]
    assert own["parts"][1]["task"] == "write a Python function that reverses a linked list."
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(part["usage"]["completion_tokens"] for part in own["parts"])
    assert (answer.choices[0].message.content or "").endswith("Answered: 1 by legal, 2 by code, 3 by medical.")
    assert AuditReader(running.home / "audit.db").show(answer.id).outcome == "completed"


def test_who_answers_in_place_of_an_unreachable_specialist_is_told(tmp_path: Path) -> None:
    team = echo_team(home=str(tmp_path / "home"))
    team["backends"]["gone"] = {"type": "http", "options": {"base_url": "http://127.0.0.1:9/v1"}}
    next(card for card in team["specialists"] if card["name"] == "legal")["backend"] = "gone"
    with gateway(team, tmp_path) as up:
        body = {"model": "auto", "messages": [{"role": "user", "content": THREE}]}
        answer = httpx.post(f"{up.url}/v1/chat/completions", json=body)
    instead = "Part 1: legal could not be reached, so general answers."
    assert answer.headers["x-concertino-parts"] == "general, code, medical"
    assert answer.headers["x-concertino-reason"].endswith(instead)
    assert answer.json()["choices"][0]["message"]["content"].endswith(instead)
    assert answer.json()["concertino"]["parts"][0]["specialist"] == "general"


def test_a_streamed_answer_is_the_same_with_progress_that_clients_pass_over(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": THREE}])
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": THREE}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    progress: list[Any] = [
        chunk.model_extra["concertino"]["part"]
        for chunk in chunks
        if chunk.model_extra and "part" in (chunk.model_extra.get("concertino") or {})
    ]
    assert [part["state"] for part in progress].count("running") == 3
    assert [part["state"] for part in progress].count("completed") == 3
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


async def test_our_own_client_reads_the_parts(running: Gateway) -> None:
    async with GatewayClient(running.url) as team, team.answering(ask(THREE)) as run:
        assert run.decision.plan is not None
        async for _ in run.chunks():
            pass
    assert [part.state for part in run.answer().parts] == [PartState.COMPLETED] * 3


def test_the_parts_are_counted(client: openai.OpenAI, running: Gateway) -> None:
    client.chat.completions.create(model="auto", messages=[{"role": "user", "content": THREE}])
    text = httpx.get(f"{running.url}/metrics").text
    assert 'concertino_parts_total{specialist="code",state="completed"}' in text
