"""The Python face: a team in this process, for scripts and notebooks, without a server.

    from concertino import Team

    with Team.default() as team:
        print(team.ask("Write a regular expression for an ISBN-13.").text)

Every method has an asynchronous twin whose name begins with `a`. The objects are those of the wire.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from concertino.config import Settings, load
from concertino.errors import InvalidRequest, ShuttingDown, UnknownModel
from concertino.orchestrator.compose import compose
from concertino.orchestrator.service import Service
from concertino.template import TEXT, FieldsProblem, names, text_of
from concertino.types import Answer, Chunk, Decision, Message, Request, Role, Sampling

T = TypeVar("T")
Conversation = str | Sequence[Message | dict[str, Any]]
_END = object()


class Team:
    """A team that starts its engines when the first answer is asked for; `route` needs none.

    Its work runs on an event loop of its own in a background thread, so the synchronous and the asynchronous
    methods can be mixed, and called from several threads. Close it, or use it in a `with` statement.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="concertino-team", daemon=True)
        self._thread.start()
        self._closed = False
        self._closing = threading.Lock()
        """Held while work is handed to the loop, so that none is after its last."""
        self._running: set[asyncio.Task[Any]] = set()
        """Calls that have not ended; only the loop's thread touches it."""
        try:
            self._service: Service = self._wait(self._compose())
        except BaseException:
            self.close()
            raise

    @classmethod
    def default(cls) -> "Team":
        """The built-in team, with the settings of CONCERTINO_CONFIG or ./concertino.yaml where there is one."""
        return cls(load())

    @classmethod
    def from_config(cls, path: str | Path) -> "Team":
        """The team that a concertino.yaml declares. Raises ConfigurationError."""
        return cls(load(path))

    def start(self) -> None:
        """Start the engines now instead of at the first answer. Raises ModelMissing if a model is not pulled yet."""
        self._wait(self._service.start())

    def route(self, conversation: Conversation, model: str = "auto") -> Decision:
        """Who would answer, how sure the router is, and why. Nothing is run."""
        return self._wait(self._service.decide(as_request(conversation, model)))

    def route_many(self, texts: Sequence[str]) -> list[Decision]:
        """One Decision per text, read in batches."""
        return self._wait(self._service.decide_many([as_request(text, "auto") for text in texts]))

    def plan(self, conversation: Conversation) -> Decision:
        """The Decision with the plan that would be carried out; its `plan` is None where one specialist would answer.

        Nothing is answered; with `workflow.planner: model` the generalist is asked for the plan.
        """
        return self._wait(self._service.plan(as_request(conversation)))

    def ask(self, conversation: Conversation, model: str = "auto", **parameters: Any) -> Answer:
        """Answer a text or a conversation.

        `parameters` are the OpenAI ones: max_tokens, temperature, top_p, seed, stop, tools, tool_choice,
        response_format, logprobs, top_logprobs. Raises the exceptions of `concertino.errors`.
        """
        return self._wait(self._service.answer(as_request(conversation, model, **parameters)))

    def stream(self, conversation: Conversation, model: str = "auto", **parameters: Any) -> Iterator[Chunk]:
        """Answer chunk by chunk. Leaving the loop early stops the generation."""
        request = as_request(conversation, model, **parameters)
        pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        future = self._submit(self._pump(request, pieces.put))
        try:
            while (piece := pieces.get()) is not _END:
                yield piece
            future.result()
        finally:
            future.cancel()

    def run(self, skill: str, texts: Sequence[str | Mapping[str, Any]]) -> list[Answer]:
        """One Answer per text from a skill (`specialist/skill`), with `text`, `confidence` and `abstained`.

        In place of a text there may be a row of the fields that the skill's template names. Raises InvalidRequest for
        one that lacks any.
        """
        return self._wait(self._run_skill(skill, texts))

    async def aroute(self, conversation: Conversation, model: str = "auto") -> Decision:
        """`route`, awaited."""
        return await asyncio.wrap_future(self._submit(self._service.decide(as_request(conversation, model))))

    async def aplan(self, conversation: Conversation) -> Decision:
        """`plan`, awaited."""
        return await asyncio.wrap_future(self._submit(self._service.plan(as_request(conversation))))

    async def aask(self, conversation: Conversation, model: str = "auto", **parameters: Any) -> Answer:
        """`ask`, awaited. Cancelling it stops the generation."""
        request = as_request(conversation, model, **parameters)
        return await asyncio.wrap_future(self._submit(self._service.answer(request)))

    async def astream(self, conversation: Conversation, model: str = "auto", **parameters: Any) -> AsyncIterator[Chunk]:
        """`stream`, asynchronously."""
        request = as_request(conversation, model, **parameters)
        here = asyncio.get_running_loop()
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        future = self._submit(self._pump(request, lambda piece: here.call_soon_threadsafe(pieces.put_nowait, piece)))
        try:
            while (piece := await pieces.get()) is not _END:
                yield piece
            await asyncio.wrap_future(future)
        finally:
            future.cancel()

    async def arun(self, skill: str, texts: Sequence[str | Mapping[str, Any]]) -> list[Answer]:
        """`run`, awaited."""
        return await asyncio.wrap_future(self._submit(self._run_skill(skill, texts)))

    def close(self) -> None:
        """Stop the engines and close the audit log. Safe to call twice.

        What other threads still wait for ends with ShuttingDown.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if hasattr(self, "_service"):
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(timeout=30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        if not self._thread.is_alive():
            self._loop.close()

    def __enter__(self) -> "Team":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> "Team":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        with self._closing:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(self._call(work), self._loop)
        work.close()
        raise InvalidRequest("This team is closed. Make a new one.")

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise ShuttingDown("The team was closed before this was done. Make a new one.") from None
        finally:
            self._running.discard(task)

    async def _shut(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._service.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _compose(self) -> Service:
        return compose(self.settings)

    async def _pump(self, request: Request, put: Any) -> None:
        try:
            async with self._service.answering(request) as run:
                async for chunk in run.chunks():
                    put(chunk)
        finally:
            put(_END)

    async def _run_skill(self, skill: str, texts: Sequence[str | Mapping[str, Any]]) -> list[Answer]:
        if "/" not in skill:
            raise UnknownModel(f"{skill!r} is not a skill. Name one as specialist/skill.", param="model")
        target = self._service.pool.target(skill)
        template = target.skill.template if target and target.skill else TEXT
        requests = [as_request(text if isinstance(text, str) else _read(text, template), skill) for text in texts]
        return await self._service.answer_many(requests)


def _read(row: Mapping[str, Any], template: str) -> str:
    try:
        return text_of(row, template)
    except FieldsProblem as problem:
        wanted = ", ".join(names(template))
        raise InvalidRequest(f"{problem.because}. Give a row with {wanted}, or the whole text.", param="text") from None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    """What is relied on of a tool; the rest is the engine's to judge."""

    function: _Function


def as_request(conversation: Conversation, model: str = "auto", **parameters: Any) -> Request:
    """A Request from a text or a list of messages. Raises InvalidRequest for what it cannot read."""
    turns = [{"role": Role.USER, "content": conversation}] if isinstance(conversation, str) else list(conversation)
    if not turns:
        raise InvalidRequest("The conversation is empty. Give at least one message.", param="messages")
    known = {field.name for field in msgspec.structs.fields(Sampling)}
    drawn = {name: value for name, value in parameters.items() if name in known}
    rest = {name: value for name, value in parameters.items() if name not in known}
    if isinstance(drawn.get("stop"), str):
        drawn["stop"] = (drawn["stop"],)
    if unknown := rest.keys() - {"tools", "tool_choice", "response_format"}:
        raise InvalidRequest(f"Unknown parameter {min(unknown)!r}. Leave it out.", param=min(unknown))
    try:
        msgspec.convert(rest.get("tools") or (), tuple[_Tool, ...])
        return Request(
            messages=msgspec.convert([msgspec.to_builtins(turn) for turn in turns], tuple[Message, ...]),
            model=model,
            sampling=msgspec.convert({k: v for k, v in drawn.items() if v is not None}, Sampling),
            tools=tuple(rest.get("tools") or ()),
            tool_choice=rest.get("tool_choice"),
            response_format=rest.get("response_format"),
        )
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}. Correct it.") from error
