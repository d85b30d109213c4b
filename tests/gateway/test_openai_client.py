"""The official openai client against a running gateway, on an echo team."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.gateway.serving import Gateway, gateway
from tests.teams import echo_team


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(echo_team(home=str(folder / "home")), folder) as up:
        yield up


@pytest.fixture
def client(running: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def test_auto_is_routed_and_the_answer_says_who_gave_it(client: openai.OpenAI) -> None:
    question = "How do I reverse a list in Python?"
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": question}]
    )
    answer = raw.parse()
    assert answer.model == "code"
    assert answer.choices[0].message.content == question
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 16
    assert raw.headers["x-concertino-specialist"] == "code"
    assert raw.headers["x-concertino-tier"] == "linear"
    assert float(raw.headers["x-concertino-confidence"]) > 0.5
    assert raw.headers["x-concertino-reason"]


def test_streamed_and_whole_answers_are_equal(client: openai.OpenAI) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "un, deux,  trois"}]
    whole = client.chat.completions.create(model="general", messages=messages)
    stream = client.chat.completions.create(
        model="general", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_decision_is_in_the_body_on_request(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "What does an indemnification clause do?"}],
        extra_body={"concertino": {"decision": True}},
    )
    decision = answer.model_extra["concertino"]["decision"]  # type: ignore[index]
    assert decision["specialist"] == "legal"
    assert set(decision["scores"]) == {"general", "code", "legal", "finance", "medical"}


def test_a_skill_answers_with_one_of_its_labels(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="legal/overruling", messages=[{"role": "user", "content": "We say no to that."}]
    )
    assert answer.choices[0].message.content == "no"
    assert answer.model == "legal/overruling"
    assert answer.model_extra["concertino"] == {  # type: ignore[index]
        "confidence": 1.0,
        "abstained": False,
        "escalated": None,
    }


def test_tools_and_schemas_are_refused_where_the_engine_has_none(client: openai.OpenAI) -> None:
    asked: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="general", messages=asked, tools=[tool])  # type: ignore[list-item]
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools")
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(model="general", messages=asked, response_format={"type": "json_object"})


def test_models_lists_the_router_specialists_skills_and_embedders(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    expected = [
        "auto",
        "auto:cheap",
        "auto:best",
        "general",
        "code",
        "legal",
        "legal/overruling",
        "finance",
        "medical",
        "echo-embedding",
    ]
    assert names == expected
    assert client.models.retrieve("legal/overruling").id == "legal/overruling"
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.models.retrieve("nobody")


def test_embeddings_come_in_both_encodings(client: openai.OpenAI) -> None:
    default = client.embeddings.create(model="echo-embedding", input=["a", "b"])  # the client asks for base64
    floats = client.embeddings.create(model="echo-embedding", input=["a", "b"], encoding_format="float")
    assert [len(row.embedding) for row in default.data] == [32, 32]
    assert default.data[1].embedding == pytest.approx(floats.data[1].embedding, abs=1e-6)


def test_an_unknown_model_names_the_nearest(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean 'legal'"):
        client.chat.completions.create(model="lgal", messages=[{"role": "user", "content": "Hi"}])


def test_health_data_goes_only_to_the_specialist_that_is_cleared_for_it(client: openai.OpenAI) -> None:
    text = "Patient Jane Doe, born 12 March 1961, MRN 4711-0815, was diagnosed with diabetes. Write a Python class."
    routed = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": text}])
    assert routed.model == "medical"
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="code", messages=[{"role": "user", "content": text}])
    assert caught.value.code == "policy_refused"
    with pytest.raises(openai.PermissionDeniedError):
        client.embeddings.create(model="echo-embedding", input=text)


def test_every_request_left_two_records(client: openai.OpenAI, running: Gateway) -> None:
    from concertino.audit.read import AuditReader

    answer = client.chat.completions.create(model="finance", messages=[{"role": "user", "content": "a secret word"}])
    entry = AuditReader(running.home / "audit.db").show(answer.id)
    assert entry.outcome == "completed"
    assert b"a secret word" not in b"".join(path.read_bytes() for path in running.home.glob("audit.db*"))


def test_nothing_of_the_test_suite_is_left_running(tmp_path: Path) -> None:
    with gateway(echo_team(home=str(tmp_path / "home")), tmp_path) as up:
        process = up.process
    assert process.returncode == 0
