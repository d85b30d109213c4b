"""What the catalogue offers, what the store holds and what the configured team needs, side by side."""

from enum import StrEnum

from msgspec import Struct

from concertino.config import Settings
from concertino.errors import ModelCorrupt
from concertino.models.catalogue import Catalogue
from concertino.models.store import Manifest, Store

EMBEDDED = "llamacpp"
"""The backend type that runs language models of the catalogue in processes of its own."""
FROM_CATALOGUE = frozenset({EMBEDDED, "encoder"})
"""Backend types whose models come from the catalogue; others name models of their upstream."""


class State(StrEnum):
    HERE = "here"
    MISSING = "not pulled"
    UNFINISHED = "unfinished"
    """A pull was interrupted, or is going on."""
    OUTDATED = "outdated"
    """The catalogue now names other bytes than the store holds."""
    DAMAGED = "damaged"
    """A file is gone or has the wrong size; only `concertino models verify` reads every byte."""


class Row(Struct, frozen=True):
    """One model. `bytes` is what the catalogue says, `on_disk` what the store holds with what was derived."""

    name: str
    state: State
    parameters: str
    quantisation: str
    licence: str
    bytes: int
    on_disk: int
    used_by: tuple[str, ...]
    """Specialists, skills on a model of their own, and embeddings of the configured team."""
    processes: tuple[int, ...]
    """Processes that hold a lease on it."""


def needed(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Catalogue models that the configured team needs, in its order, each with who needs it."""

    def is_embedded(backend: str) -> bool:
        return backend in settings.backends and settings.backends[backend].type in FROM_CATALOGUE

    users: dict[str, tuple[str, ...]] = {}
    for card in settings.specialists:
        if is_embedded(card.backend):
            users[card.model] = (*users.get(card.model, ()), card.name)
        for skill in card.skills:
            running = card.as_run(skill)
            own = (running.backend, running.model) != (card.backend, card.model)
            if own and is_embedded(running.backend):
                users[running.model] = (*users.get(running.model, ()), f"{card.name}/{skill.name}")
    for embedding in settings.embeddings:
        if is_embedded(embedding.backend):
            users[embedding.model] = (*users.get(embedding.model, ()), "embeddings")
    return users


def inventory(catalogue: Catalogue, store: Store, settings: Settings) -> tuple[Row, ...]:
    """Every model of the catalogue, then those that only the store knows."""
    users = needed(settings)
    rows = []
    for name in dict.fromkeys([*catalogue.entries, *(manifest.name for manifest in store.list())]):
        entry = catalogue.entries.get(name)
        manifest = store.manifest(name)
        rows.append(
            Row(
                name=name,
                state=_state(catalogue, store, name, manifest),
                parameters=entry.parameters if entry else "",
                quantisation=entry.quantisation if entry else "",
                licence=entry.licence if entry else "",
                bytes=entry.bytes if entry else manifest.bytes if manifest else 0,
                on_disk=manifest.bytes if manifest else 0,
                used_by=users.get(name, ()),
                processes=store.holders(name),
            )
        )
    return tuple(rows)


def _state(catalogue: Catalogue, store: Store, name: str, manifest: Manifest | None) -> State:
    if store.partial(name).exists():
        return State.UNFINISHED
    if manifest is None:
        return State.MISSING
    entry = catalogue.entries.get(name)
    stored = {file: about.sha256 for file, about in manifest.files.items()}
    if entry and {file.name: file.sha256 for file in entry.files} != stored:
        return State.OUTDATED
    try:
        for file in manifest.everything:
            store.resolve(name, file)
    except ModelCorrupt:
        return State.DAMAGED
    return State.HERE
