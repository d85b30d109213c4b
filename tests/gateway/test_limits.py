"""How many requests are answered at once, and for how long one may take."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from concertino.audit.read import AuditReader
from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("limited")
    config = echo_team(home=str(folder / "home"), gateway={"max_in_flight": 2, "request_timeout_s": 4})
    config["backends"]["echo"]["options"] = {"delay_s": 0.1}
    with gateway(config, folder) as up:
        yield up


def ask(running: Gateway, words: int) -> httpx.Response:
    body = {"model": "code", "messages": [{"role": "user", "content": "w " * words}]}
    return httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=60)


def test_of_many_at_once_no_more_pass_than_may(running: Gateway) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: ask(running, 25), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 10
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("overloaded", "1")


def test_an_answer_that_takes_too_long_is_on_record_with_what_its_client_was_told(running: Gateway) -> None:
    response = ask(running, 300)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "backend_timeout")
    entry = AuditReader(running.home / "audit.db").show(response.headers["x-request-id"])
    assert entry.end is not None
    assert (entry.outcome, entry.end["error_code"]) == ("cancelled", "backend_timeout")
