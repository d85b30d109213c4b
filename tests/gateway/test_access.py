"""Every route times every kind of key: the table is made from the routes, so a new one is in it."""

from collections.abc import Iterator

import httpx
import pytest

from concertino.audit.read import AuditReader
from concertino.gateway.app import ROUTES
from concertino.gateway.call import Access
from concertino.storage.database import open_database
from concertino.storage.keys import KeyStore, hash_secret
from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("locked")
    config = echo_team(
        home=str(folder / "home"),
        gateway={"require_key": True},
        keys=[{"id": "ops", "sha256": hash_secret("ck_good"), "tenant": "acme"}],
        policy={"tenants": {"acme": ["general", "code"]}},
    )
    with gateway(config, folder) as up:
        yield up


@pytest.fixture(scope="module")
def revoked(running: Gateway) -> str:
    keys = KeyStore(open_database(f"sqlite:///{running.home / 'state.db'}"))
    key, secret = keys.create("old", "acme")
    keys.revoke(key.id)
    return secret


@pytest.mark.parametrize(("method", "path", "access"), [(m, p, a) for m, p, _, a in ROUTES], ids=lambda v: str(v))
def test_no_route_with_a_key_answers_without_a_good_one(
    running: Gateway, revoked: str, method: str, path: str, access: Access
) -> None:
    url = running.url + path.replace("{model:path}", "code")
    for value in (None, "Bearer ck_wrong", "Bearer unused", "Bearer", f"Bearer {revoked}", "Basic ck_good"):
        headers = {} if value is None else {"Authorization": value}
        response = httpx.request(method, url, headers=headers, json={} if method == "POST" else None)
        if access is Access.PUBLIC:
            assert response.status_code == 200
        else:
            assert response.status_code == 401, (value, response.text)
            assert response.json()["error"]["code"] == "invalid_api_key"


def test_a_good_key_is_its_tenant_s_and_no_more(running: Gateway) -> None:
    headers = {"Authorization": "Bearer ck_good"}
    body = {"model": "code", "messages": [{"role": "user", "content": "Hi"}]}
    allowed = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=headers)
    assert allowed.status_code == 200
    other = httpx.post(f"{running.url}/v1/chat/completions", json=body | {"model": "legal"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (403, "policy_refused")
    assert "Tenant acme" in other.json()["error"]["message"]
    begin = AuditReader(running.home / "audit.db").show(other.headers["x-request-id"]).begin
    assert (begin["model"], begin["decision"]) == ("legal", None)
    assert begin["verdict"]["eligible"] == ["general", "code"]
    assert "Tenant acme" in begin["verdict"]["excluded"]["legal"]


def test_a_wrong_key_leaves_a_line_that_does_not_have_it(running: Gateway, revoked: str) -> None:
    ids = []
    for secret in ("ck_wrong_but_secret", revoked):
        response = httpx.get(f"{running.url}/v1/models/code", headers={"Authorization": f"Bearer {secret}"})
        ids.append(response.headers["x-request-id"])
    said = (running.home.parent / "gateway.log").read_text()
    assert f"request {ids[0]} to /v1/models/{{model:path}} was refused: This API key is not known" in said
    assert f"request {ids[1]} to /v1/models/{{model:path}} was refused: This API key was revoked" in said
    assert "ck_wrong_but_secret" not in said and revoked not in said
