"""Tool calls that come in pieces, as servers of several makes send them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from concertino.backends.base import Generation
from concertino.types import Chunk, FinishReason
from tests.orchestrator.workflows import ask, make_service


def piece(index: Any, id: str = "", name: str = "", arguments: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"function": {"name": name or None, "arguments": arguments}}
    return made | ({"id": id} if id else {}) | ({} if index is None else {"index": index})


TWO = [("a", "f", '{"x": 1}'), ("b", "g", "{}")]


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([piece(0, "a", "f", '{"x":'), piece(0, arguments=" 1}"), piece(1, "b", "g", "{}")], TWO),
        ([piece(1, "a", "f", '{"x":'), piece(1, arguments=" 1}"), piece(2, "b", "g", "{}")], TWO),
        ([piece(0, "a", "f", '{"x":'), piece(1, "b", "g", "{}"), piece(0, arguments=" 1}")], TWO),
        ([piece(0, "a", "f", '{"x": 1}'), piece(0, "b", "g", "{}")], TWO),
        ([piece(None, "a", "f", '{"x": 1}'), piece(None, "b", "g", "{}")], TWO),
        ([piece(None, "a", "f", '{"x":'), piece(None, arguments=" 1}"), piece(None, "b", "g", "{}")], TWO),
        ([piece(["odd"], "a", "f", '{"x": 1}'), piece({}, "b", "g", "{}")], TWO),
        ([piece(0, "a", "f", '{"x":'), piece(0, "a", "f", " 1}"), piece(-1, "b", "g", "{}")], TWO),
    ],
    ids=[
        "from zero",
        "from one",
        "interleaved",
        "one index for all",
        "no index",
        "no index, in pieces",
        "an index that is no number",
        "id and name again",
    ],
)
async def test_each_call_has_its_own_pieces(
    tmp_path: Path, pieces: list[dict[str, Any]], calls: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(tmp_path, [])

    async def generate(generation: Generation) -> AsyncIterator[Chunk]:
        for one in pieces:
            yield Chunk(tool_calls=(one,))
        yield Chunk(finish_reason=FinishReason.TOOL_CALLS)

    monkeypatch.setattr(service.pool.backends["general"], "generate", generate)
    answer = await service.answer(ask("Hi", model="general"))
    assert [(call.id, call.function.name, call.function.arguments) for call in answer.tool_calls] == calls
    await service.close()
