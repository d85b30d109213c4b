"""Every kind of bad request gets a sentence, a stable code, and the right status."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team

HELLO = [{"role": "user", "content": "Hello"}]
LIMIT = 200_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    config = echo_team(home=str(folder / "home"), gateway={"body_limit_bytes": LIMIT})
    config["backends"]["slow"] = {"type": "echo", "options": {"delay_s": 0.05}}
    config["specialists"].append({"name": "slow", "description": "Slow.", "backend": "slow", "model": "echo"})
    with gateway(config, folder) as up:
        yield up


def chat(running: Gateway, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{running.url}/v1/chat/completions", content=content, timeout=30)


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "said"),
    [
        (b"", 400, "invalid_request", None, "empty"),
        (b"{", 400, "invalid_request", None, "not valid JSON"),
        (b"[]", 400, "invalid_request", None, "must be a JSON object"),
        (b'{"messages": "\xff"}', 400, "invalid_request", None, "not valid JSON"),
        (b"[" * 5000, 400, "invalid_request", None, ""),
        (b'{"a":' * 200 + b"1" + b"}" * 200, 400, "invalid_request", None, "levels deep"),
        ({}, 400, "invalid_request", "messages", "missing"),
        ({"message": HELLO}, 400, "invalid_request", "messages", "Did you mean it by 'message'?"),
        ({"messages": []}, 400, "invalid_request", "messages", "empty"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "invalid_request", "messages", "empty"),
        ({"messages": [{"role": "pope", "content": "x"}]}, 400, "invalid_request", "messages[0].role", "pope"),
        ({"messages": [{"role": "user"}]}, 400, "invalid_request", "messages[0].content", "no content"),
        ({"messages": HELLO, "max_tokens": "many"}, 400, "invalid_request", "max_tokens", "int"),
        ({"messages": HELLO, "max_tokens": 0}, 400, "invalid_request", "max_tokens", "between"),
        ({"messages": HELLO, "temperature": 9}, 400, "invalid_request", "temperature", "between 0 and 2"),
        ({"messages": HELLO, "n": 2}, 400, "unsupported_parameter", "n", "one answer"),
        ({"messages": HELLO, "logit_bias": {"1": 5}}, 400, "unsupported_parameter", "logit_bias", "not supported"),
        ({"messages": HELLO, "temprature": 1}, 400, "unsupported_parameter", "temprature", "Unknown parameter"),
        ({"messages": HELLO, "max_cost": 1}, 400, "unsupported_parameter", "max_cost", '"concertino": {"max_cost"'),
        ({"messages": HELLO, "tools": [{"type": "x"}]}, 400, "invalid_request", "tools[0]", "function"),
        (
            {"messages": HELLO, "response_format": {"type": "xml"}},
            400,
            "invalid_request",
            "response_format.type",
            "xml",
        ),
        ({"messages": HELLO, "model": "nobody"}, 404, "model_not_found", "model", "GET /v1/models"),
        ({"messages": HELLO, "model": "legal/nothing"}, 404, "model_not_found", "model", "Did you mean"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, 400, "invalid_request", "messages", "role 'user'"),
        ({"messages": HELLO, "concertino": 0}, 400, "invalid_request", "concertino", "object"),
        ({"messages": HELLO, "concertino": {"x": 1}}, 400, "invalid_request", "concertino", "unknown field"),
        (
            {"messages": [{"role": "user", "content": "word " * 6000}]},
            400,
            "context_length_exceeded",
            "messages",
            "Shorten",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400,
            "unsupported_parameter",
            "messages[0].content",
            "only text",
        ),
        ({"messages": [{"role": "user", "content": "x" * LIMIT}]}, 413, "body_too_large", None, "larger than"),
    ],
)
def test_a_bad_chat_request(running: Gateway, body: Any, status: int, code: str, param: str | None, said: str) -> None:
    response = chat(running, body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), error
    assert said in error["message"]
    assert response.headers["x-request-id"]


def test_a_body_that_dribbles_in_is_cut_off(running: Gateway) -> None:
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"POST /v1/route HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        connection.settimeout(20)
        started = time.monotonic()
        said = connection.recv(4096)
        assert 5 < time.monotonic() - started < 15
    assert said.startswith(b"HTTP/1.1 400")


def test_paths_and_methods_that_are_not_there(running: Gateway) -> None:
    missing = httpx.get(f"{running.url}/v2/chat")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert missing.headers["x-request-id"]
    wrong = httpx.get(f"{running.url}/v1/chat/completions")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


def test_a_compressed_body_is_refused_unread(running: Gateway) -> None:
    response = httpx.post(
        f"{running.url}/v1/chat/completions", content=b"\x1f\x8b", headers={"content-encoding": "gzip"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(["messages", "tools", "response_format", "stop", "stream_options", "model", "seed", "tool_choice"]),
)
def test_whatever_stands_in_a_field_the_answer_is_never_a_5xx(running: Gateway, value: Any, field: str) -> None:
    response = chat(running, {"messages": HELLO, "model": "general", field: value})
    assert response.status_code < 500, response.text


def test_a_client_that_hangs_up_stops_the_generation(running: Gateway) -> None:
    def cancelled() -> float:
        text = httpx.get(f"{running.url}/metrics").text
        wanted = 'concertino_requests_total{by="pinned",outcome="cancelled",specialist="slow"}'
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted)), 0.0)

    for stream in (True, False):
        before = cancelled()
        body = json.dumps({"model": "slow", "stream": stream, "messages": [{"role": "user", "content": "w " * 300}]})
        address = urlsplit(running.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            time.sleep(0.5)
        deadline = time.monotonic() + 2
        while cancelled() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert cancelled() == before + 1


def test_a_full_disk_under_the_audit_log_means_no_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("full")
    config = echo_team(home=str(folder / "home"), audit={"path": "/dev/full/audit.db"})
    with gateway(config, folder) as up:
        response = chat(up, {"messages": HELLO})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
        assert "Hello" not in response.text
        assert httpx.get(f"{up.url}/readyz").status_code == 503
