"""What verbs share on the way in: common options, the text that was given, and who answers it."""

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer
from msgspec import structs

from concertino.config import Settings, SpecialistCard
from concertino.errors import InvalidRequest, ModelMissing
from concertino.types import Answer, Chunk, Decision, Request

if TYPE_CHECKING:
    from concertino.orchestrator.service import Service

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", metavar="PATH", help="Configuration; default: $CONCERTINO_CONFIG, else ./concertino.yaml."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
GatewayOption = Annotated[bool, typer.Option("--no-gateway", help="Answer in this process even if a gateway runs.")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="A gateway elsewhere; default: the one that runs on this machine."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="CONCERTINO_API_KEY", metavar="KEY", help="API key for the gateway.", show_envvar=True
    ),
]
RecipeDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="CONCERTINO_DATA_DIR",
        help="Folder that the recipe's paths are relative to; default: the recipe's own.",
    ),
]
TextArgument = Annotated[str, typer.Argument(metavar="TEXT", help="The text; - reads it from stdin.")]


class Answering(Protocol):
    """An answer on its way. `decision` is known from the start; `answer` is whole once `chunks` has ended."""

    @property
    def decision(self) -> Decision: ...

    def chunks(self) -> AsyncIterator[Chunk]: ...

    def answer(self) -> Answer: ...


class Answerer(Protocol):
    """Who answers requests."""

    def answering(self, request: Request) -> AbstractAsyncContextManager[Answering]: ...


def given_text(text: str) -> str:
    """The argument, or all of stdin for `-`. Raises InvalidRequest for no text, or bytes that are no text."""
    if text == "-":
        raw = sys.stdin.buffer.read()
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"stdin is not UTF-8: byte {error.start} begins no character. Convert it.") from error
    if not text.strip():
        raise InvalidRequest("The text is empty. Say something.", param="text")
    # Bytes of an argument that are not UTF-8 arrive as lone surrogates, which no JSON can carry.
    return text.encode("utf-8", "replace").decode()


def gateway_url(settings: Settings, url: str | None, no_gateway: bool) -> str | None:
    """The gateway to ask: the one named, else the one that serves this home folder, else None."""
    if url and no_gateway:
        raise typer.BadParameter("--url and --no-gateway exclude each other.")
    if url and not url.startswith(("http://", "https://")):
        raise typer.BadParameter("--url must begin with http:// or https://.")
    if url or no_gateway:
        return url.rstrip("/").removesuffix("/v1") if url else None
    from concertino.gateway.note import running_gateway

    running = running_gateway(settings)
    return running.url if running else None


@asynccontextmanager
async def answerer(
    settings: Settings, url: str | None, api_key: str | None, skill: str = ""
) -> AsyncIterator[Answerer]:
    """The gateway at `url`, or, without one, the team in this process with its engines started.

    With `skill` (specialist/skill) only what that skill needs is started.
    """
    if url is not None:
        from concertino.cli.client import GatewayClient

        async with GatewayClient(url, api_key) as client:
            yield client
        return
    async with started_team(settings, skill) as service:
        yield service


def _alone(settings: Settings, skill: str) -> SpecialistCard | None:
    """What runs a skill that never asks another specialist and has a backend of its own; None for any other."""
    name, _, skill_name = skill.partition("/")
    card = settings.card(name)
    found = card.skill(skill_name) if card else None
    if card is None or found is None or not found.backend or found.on_low_confidence != "abstain":
        return None
    return card.as_run(found)


@asynccontextmanager
async def started_team(settings: Settings, skill: str = "") -> AsyncIterator["Service"]:
    """The team in this process, its engines started. Raises ModelMissing with the command that mends it."""
    from concertino.cli import output
    from concertino.knowledge.index import index_path
    from concertino.models.inventory import needed
    from concertino.models.store import Store
    from concertino.orchestrator.compose import compose
    from concertino.registry import lay_over

    # Embedding models answer nobody here: they need not be loaded, unless there is something to look up.
    if not any(index_path(settings.home_path, card.name).exists() for card in settings.specialists):
        settings = structs.replace(settings, embeddings=())
    laid = lay_over(settings).settings
    alone = _alone(laid, skill)
    names = list(needed(laid)) if alone is None else [alone.model]
    missing = [name for name in names if Store(settings.home_path).manifest(name) is None]
    if missing:
        here = "is" if len(missing) == 1 else "are"
        raise ModelMissing(f"{', '.join(missing)} {here} not pulled yet. Run `concertino pull`.", param=missing[0])
    service = compose(settings)
    try:
        with output.Spinner(f"Loading {', '.join(names) or 'the team'}"):
            await service.start(None if alone is None else alone.backend)
        yield service
    finally:
        await service.close()


def readable_file(path: Path | None) -> Path | None:
    """A typer callback: the file exists and can be read, or it is `-`."""
    if path is not None and str(path) != "-" and (path.is_dir() or not path.exists()):
        raise typer.BadParameter(f"there is no file {str(path)!r}.")
    return path
