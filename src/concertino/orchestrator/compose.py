"""Settings -> a Service with every part in its place. Nothing is started here."""

from contextlib import ExitStack
from pathlib import Path

from concertino.audit.digest_key import KEY_NAME
from concertino.audit.log import AuditLog
from concertino.config import Settings, SpecialistCard
from concertino.errors import ConfigurationError
from concertino.models.adapters import MANIFEST, read_adapter
from concertino.models.convert import gguf_path
from concertino.models.file_hash import file_sha256
from concertino.models.store import Store
from concertino.orchestrator.decider import make_decider
from concertino.orchestrator.recording import Recorder
from concertino.orchestrator.refresh import Refresher
from concertino.orchestrator.service import Service
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics


def compose(settings: Settings) -> Service:
    """Build the team that the settings declare, with the versions of skills that the registry lets serve.

    Raises ConfigurationError; ModelMissing, ModelCorrupt when started.
    """
    home = settings.home_path
    store = Store(home)
    files = ModelFiles(store)

    def build(team: Settings, before: Pool | None = None) -> Pool:
        return Pool(team, files.open, lambda card: model_hash(store, card), files.file, before)

    refresher = Refresher(settings, build)
    team = refresher.first()
    pool = build(team)
    audit = AuditLog(settings.audit_path, key_path=home / KEY_NAME, keep_text=settings.audit.keep_text)
    return Service(team, pool, make_decider(team, pool), Recorder(audit), Metrics(), files.release, refresher)


class ModelFiles:
    """Files of the store that this process serves: while one is open, `concertino models remove` refuses it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held = ExitStack()
        self._names: set[str] = set()

    def open(self, name: str) -> Path:
        """The file that llama.cpp loads for a catalogue model. Raises ModelMissing, ModelCorrupt."""
        path = gguf_path(self._store, name)
        self._hold(name)
        return path

    def file(self, name: str, file: str) -> Path:
        """One of a catalogue model's own files. Raises ModelMissing, ModelCorrupt."""
        path = self._store.resolve(name, file)
        self._hold(name)
        return path

    def _hold(self, name: str) -> None:
        if name not in self._names:
            self._held.enter_context(self._store.lease(name))
            self._names.add(name)

    def release(self) -> None:
        self._held.close()


def model_hash(store: Store, card: SpecialistCard) -> str:
    """`sha256:` of the base (and adapter) that answers, or the upstream's name where the weights are elsewhere."""
    manifest = store.manifest(card.model)
    base = (
        f"sha256:{next(iter(manifest.files.values())).sha256}" if manifest else f"upstream:{card.backend}/{card.model}"
    )
    if card.adapter is None:
        return base
    path = Path(card.adapter)
    try:
        if path.is_dir():
            read_adapter(path)  # its files are those that its manifest names, so the manifest's hash stands for them
            path = path / MANIFEST
        return f"{base}+sha256:{file_sha256(path)}"
    except (OSError, ConfigurationError) as error:
        raise ConfigurationError(
            f"specialists.{card.name}: the adapter {card.adapter} cannot be read: {error}.",
            param=f"specialists.{card.name}.adapter",
        ) from error
