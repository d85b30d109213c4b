"""`concertino up`: the whole team behind one endpoint, in the foreground."""

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from concertino import config
from concertino.cli import output
from concertino.cli.session import ConfigOption, JsonOption
from concertino.cli.specialists import kind
from concertino.config import Settings
from concertino.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from concertino.models.store import Store
    from concertino.orchestrator.service import Service


def up(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default: 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one; default: 8420.")
    ] = None,
    no_pull: Annotated[bool, typer.Option("--no-pull", help="Do not fetch models that are missing.")] = False,
    as_json: JsonOption = False,
    config_path: ConfigOption = None,
) -> None:
    """Serve the team: pull what is missing, load it, and answer requests until Ctrl-C.

    An address that other machines can reach needs an API key first: `concertino keys create`. On Ctrl-C or SIGTERM
    requests in flight may end (30 s at most), and everything that was started is stopped. --json prints one line, with
    the URL, once requests are answered.

    \b
    Examples:
      concertino up
      concertino up --port 0 --json
      concertino up --host 0.0.0.0 --config team.yaml
    """
    settings = config.load(config_path)
    gateway = settings.gateway
    gateway = structs.replace(
        gateway, host=gateway.host if host is None else host, port=gateway.port if port is None else port
    )
    settings = structs.replace(settings, gateway=gateway)
    from concertino.gateway.keys import is_loopback
    from concertino.gateway.server import claim_port

    if not is_loopback(gateway.host) and not _has_key(settings):
        raise ConfigurationError(
            f"Other machines can reach {gateway.host}, and there is no API key, so anyone could ask. "
            "Make one with `concertino keys create`, or listen on 127.0.0.1.",
            param="gateway.host",
        )
    # Before the models: nobody shall wait for a gigabyte to hear that the port is taken.
    claim_port(gateway.host, gateway.port)
    from concertino.registry import lay_over

    team = lay_over(settings).settings
    if not no_pull:
        _pull_missing(team)
    logging.basicConfig(format="concertino: %(message)s", stream=sys.stderr)
    logging.getLogger("concertino.registry").setLevel(logging.INFO)  # a version that begins to serve is news
    served = asyncio.run(_serve(settings, team, as_json))
    output.say("Stopped." if served else "Stopped before the team was ready.")


def _has_key(settings: Settings) -> bool:
    from concertino.storage.database import open_database, sqlite_path
    from concertino.storage.keys import KeyStore

    if settings.keys:
        return True
    path = sqlite_path(settings.state_url)
    if path is not None and not path.exists():
        return False
    return any(key.revoked is None for key in KeyStore(open_database(settings.state_url)).list())


def _pull_missing(settings: Settings) -> None:
    from concertino.models import Store
    from concertino.models.inventory import needed

    store = Store(settings.home_path)
    missing = [name for name in needed(settings) if not _is_here(store, name)]
    if not missing:
        return
    from concertino.cli.pull import pull_shown
    from concertino.models import load_catalogue

    catalogue = load_catalogue(settings.home_path)
    pull_shown(store, [catalogue.entry(name) for name in missing])


def _is_here(store: "Store", name: str) -> bool:
    try:
        for file in store.require(name).files:
            store.resolve(name, file)
    except ModelError:
        return False
    return True


async def _serve(settings: Settings, team: Settings, as_json: bool) -> bool:
    """Serve until a signal comes; returns whether the team ever was ready."""
    from concertino.gateway.keys import Authenticator
    from concertino.gateway.server import serve
    from concertino.models.inventory import needed
    from concertino.orchestrator.compose import compose

    ready: list[str] = []
    with output.Spinner(f"Loading {', '.join(needed(team)) or 'the team'}") as loading:

        def announce(url: str) -> None:
            loading.stop()
            ready.append(url)
            _announce(team, url, as_json)

        gateway, service = settings.gateway, compose(settings)
        watching = asyncio.ensure_future(_say_when_draining(service))
        try:
            await serve(service, Authenticator(settings), gateway.host, gateway.port, announce)
        finally:
            watching.cancel()
    return bool(ready)


async def _say_when_draining(service: "Service") -> None:
    """After Ctrl-C nothing else tells a person why the prompt does not come back."""
    while not service.draining:  # noqa: ASYNC110 - the service tells nobody else
        await asyncio.sleep(0.2)
    if service.in_flight:
        output.say(f"Stopping: {service.in_flight} request(s) in flight may end, for up to 30 s.")


def _announce(settings: Settings, url: str, as_json: bool) -> None:
    names = [card.name for card in settings.specialists]
    if as_json:
        output.print_json({"url": url, "base_url": f"{url}/v1", "pid": os.getpid(), "specialists": names})
        return
    output.print_text(f"Concertino answers at {url}/v1\n")
    rows = [(card.name, card.model, kind(card)) for card in settings.specialists]
    output.print_table(("name", "base", "kind"), rows)
    output.print_text(_things_to_try(url))
    output.say("Ctrl-C stops it.")


def _things_to_try(url: str) -> str:
    return f"""
Try it:

  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "auto", "messages": [{{"role": "user", "content": "What is a tort?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="local")
  messages = [{{"role": "user", "content": "What is a tort?"}}]
  print(client.chat.completions.create(model="auto", messages=messages).choices[0].message.content)

  concertino ask --explain "What is a tort?"
"""
