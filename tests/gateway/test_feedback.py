"""A caller's word on a decision is kept, is the caller's own, and holds nothing of what was asked."""

import sqlite3
from collections.abc import Iterator

import httpx
import pytest

from concertino.storage.database import open_database
from concertino.storage.feedback import FeedbackStore
from concertino.storage.keys import hash_secret
from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team

ACME, OTHER = {"Authorization": "Bearer ck_acme"}, {"Authorization": "Bearer ck_other"}
SECRET = "the tenant in flat seven is behind with his rent"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("feedback")
    keys = [{"id": name, "sha256": hash_secret(f"ck_{name}"), "tenant": name} for name in ("acme", "other")]
    with gateway(echo_team(home=str(folder / "home"), gateway={"require_key": True}, keys=keys), folder) as up:
        yield up


@pytest.fixture(scope="module")
def asked(running: Gateway) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": SECRET}]}
    return str(httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=ACME, timeout=60).json()["id"])


def say(running: Gateway, body: object, headers: dict[str, str] = ACME) -> httpx.Response:
    return httpx.post(f"{running.url}/v1/feedback", json=body, headers=headers, timeout=60)


def test_feedback_is_durable_when_it_is_answered_and_holds_no_content(running: Gateway, asked: str) -> None:
    response = say(running, {"id": asked, "specialist": "finance"})
    assert response.status_code == 200, response.text
    kept = FeedbackStore(open_database(f"sqlite:///{running.home / 'state.db'}")).latest()[asked]
    assert (kept.tenant, kept.key_id, kept.specialist) == ("acme", "acme", "finance")
    rows = sqlite3.connect(running.home / "state.db").execute("SELECT * FROM feedback").fetchall()
    assert "rent" not in str(rows)


def test_the_last_word_counts(running: Gateway, asked: str) -> None:
    say(running, {"id": asked, "right": False})
    say(running, {"id": asked, "right": True})
    assert FeedbackStore(open_database(f"sqlite:///{running.home / 'state.db'}")).latest()[asked].right


def test_another_tenants_request_is_unknown(running: Gateway, asked: str) -> None:
    response = say(running, {"id": asked, "right": True}, OTHER)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400), ({"id": "x"}, 400), ({"id": "", "right": True}, 400), ({"id": 7, "right": True}, 400),
        ({"id": "ID", "right": "yes"}, 400), ({"id": "ID", "specialist": "nobody"}, 400),
        ({"id": "ID", "right": True, "why": "x"}, 400), ({"id": "chatcmpl-unknown", "right": True}, 404),
        ({"id": "chatcmpl", "right": True}, 404), ([], 400),
        ({"id": "ID", "right": True, "specialist": "medical"}, 400),
        ({"id": "x", "specialist": [1]}, 400), ({"id": "x", "specialist": {"a": 1}}, 400),
        ({"id": "x", "specialist": True}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_with_a_sentence(
    running: Gateway, asked: str, body: object, status: int
) -> None:
    if isinstance(body, dict) and body.get("id") == "ID":
        body = {**body, "id": asked}
    response = say(running, body)
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]
