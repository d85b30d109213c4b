"""The default team on its real models, asked through the official openai client."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from tests.conftest import pulled
from tests.gateway.serving import Gateway, gateway

pytestmark = pytest.mark.models

QUESTIONS = {
    "code": "Write a Python function that checks whether a string is a palindrome.",
    "legal": "What does a limitation of liability clause in a contract do?",
    "finance": "My card payment was declined although there is money in my account. What should I check?",
    "medical": "What are common symptoms of iron deficiency?",
    "general": "Suggest a simple dinner with tomatoes and pasta.",
}
SENSIBLE = {
    "code": ("def ", "return"),
    "legal": ("liab",),
    "finance": ("card", "bank"),
    "medical": ("fatigue", "tired", "weak", "pale", "breath"),
    "general": ("pasta", "tomato"),
}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, real_home: Path) -> Iterator[Gateway]:
    pulled(real_home)
    folder = tmp_path_factory.mktemp("team")
    # A home of its own, on the shared store: the developer's keys and audit log are left alone.
    (folder / "home").mkdir()
    (folder / "home" / "models").symlink_to(real_home / "models")
    with gateway({"home": str(folder / "home")}, folder, wait_s=180) as up:
        yield up


@pytest.fixture
def client(running: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="unused", max_retries=0, timeout=240) as made:
        yield made


@pytest.mark.parametrize("specialist", QUESTIONS)
def test_a_plain_question_reaches_its_specialist_and_gets_a_sensible_answer(
    client: openai.OpenAI, specialist: str
) -> None:
    answer = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": QUESTIONS[specialist]}], max_tokens=120, temperature=0
    )
    assert answer.model == specialist
    text = (answer.choices[0].message.content or "").lower()
    assert any(word in text for word in SENSIBLE[specialist]), text


def test_streamed_and_whole_answers_are_equal(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "code",
        "messages": [{"role": "user", "content": "Count from 1 to 5 in Python."}],
        "max_tokens": 40,
        "temperature": 0,
        "seed": 1,
    }
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_tool_is_called_with_arguments_that_keep_its_schema(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "auto",
        "messages": [{"role": "user", "content": "What is the weather in Oslo right now? Use the tool."}],
        "tools": [WEATHER],
        "tool_choice": "required",
        "max_tokens": 80,
        "temperature": 0,
    }
    whole = client.chat.completions.create(**asked)
    calls = whole.choices[0].message.tool_calls
    assert calls
    assert whole.choices[0].finish_reason == "tool_calls"
    assert calls[0].function.name == "get_weather"
    assert "oslo" in json.loads(calls[0].function.arguments)["city"].lower()
    pieces = [
        part
        for chunk in client.chat.completions.create(**asked, stream=True)
        for part in (chunk.choices[0].delta.tool_calls or [] if chunk.choices else [])
    ]
    streamed = "".join(part.function.arguments or "" for part in pieces if part.function)
    assert json.loads(streamed) == json.loads(calls[0].function.arguments)


def test_a_tool_that_is_required_is_called_though_the_question_has_nothing_to_do_with_it(client: openai.OpenAI) -> None:
    choices: Any = ("required", {"type": "function", "function": {"name": "get_weather"}})
    for choice in choices:
        answer: Any = client.chat.completions.create(
            model="general",
            messages=[{"role": "user", "content": "Tell me a joke about cats."}],
            tools=[WEATHER],
            tool_choice=choice,
            max_tokens=80,
            temperature=0,
        )
        (call,) = answer.choices[0].message.tool_calls
        assert list(json.loads(call.function.arguments)) == ["city"]


def test_an_answer_keeps_a_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
        "required": ["city", "population"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="general",
        messages=[{"role": "user", "content": "Name a large city and its population."}],
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
        max_tokens=80,
        temperature=0,
    )
    value = json.loads(answer.choices[0].message.content or "")
    assert isinstance(value["city"], str)
    assert isinstance(value["population"], int)


def test_log_probabilities_come_with_the_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="general",
        messages=[{"role": "user", "content": "Say yes."}],
        logprobs=True,
        top_logprobs=2,
        max_tokens=3,
        temperature=0,
    )
    steps = answer.choices[0].logprobs
    assert steps is not None
    assert steps.content
    assert "".join(step.token for step in steps.content).startswith(answer.choices[0].message.content or "")
    assert all(len(step.top_logprobs) == 2 for step in steps.content)


def test_a_skill_gives_one_label_and_a_confidence(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="finance/sentiment",
        messages=[{"role": "user", "content": "Shares plunge as Acme cut to sell after a profit warning"}],
    )
    # Negative, because the public set that the skill was trained on has its other two names the wrong way round.
    assert answer.choices[0].message.content == "negative"
    assert 0 < answer.model_extra["concertino"]["confidence"] <= 1  # type: ignore[index]


def test_embeddings_know_what_is_alike(client: openai.OpenAI) -> None:
    texts = ["How do I cook rice?", "What is the best way to boil rice?", "The court dismissed the appeal."]
    vectors = [row.embedding for row in client.embeddings.create(model="all-MiniLM-L6-v2", input=texts).data]
    assert len(vectors[0]) == 384

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(vectors[0], vectors[1]) > 0.7 > 0.3 > cosine(vectors[0], vectors[2])


def test_a_conversation_over_the_context_is_refused_with_the_right_code(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="general", messages=[{"role": "user", "content": "word " * 4500}])
    assert caught.value.code == "context_length_exceeded"


def test_a_killed_engine_comes_back_and_the_gateway_stays(client: openai.OpenAI, running: Gateway) -> None:
    engines = [
        child
        for child in psutil.Process(running.process.pid).children()
        if "llamacpp.engine" in " ".join(child.cmdline())
    ]
    biggest = max(engines, key=lambda child: child.memory_info().rss)
    os.kill(biggest.pid, signal.SIGKILL)
    time.sleep(0.5)
    answer = client.chat.completions.create(
        model="general", messages=[{"role": "user", "content": "Say hello."}], max_tokens=5
    )
    assert answer.choices[0].message.content


def test_a_compound_request_is_answered_by_those_it_is_for(client: openai.OpenAI) -> None:
    text = (
        "What does a limitation of liability clause in a contract do? Also, write a Python function that checks "
        "whether a string is a palindrome."
    )
    answer = client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": text}], temperature=0, max_tokens=240
    )
    assert answer.model == "several"
    own: Any = answer.model_extra["concertino"]  # type: ignore[index]
    assert [(part["specialist"], part["state"]) for part in own["parts"]] == [
        ("legal", "completed"),
        ("code", "completed"),
    ]
    said = (answer.choices[0].message.content or "").lower()
    legal, code = said.split("### 2.")
    assert "liab" in legal
    assert "def " in code
    assert code.endswith("answered: 1 by legal, 2 by code.")
