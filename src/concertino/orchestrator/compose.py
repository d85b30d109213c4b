"""Settings -> a Service with every part in its place. Nothing is started here."""

import hashlib
from pathlib import Path

from concertino.audit.log import AuditLog
from concertino.config import Settings, SpecialistCard
from concertino.errors import ConfigurationError
from concertino.models.store import Store
from concertino.orchestrator.decider import make_decider
from concertino.orchestrator.service import Service
from concertino.specialists.pool import Pool
from concertino.telemetry.metrics import Metrics


def compose(settings: Settings) -> Service:
    """Build the team that the settings declare. Raises ConfigurationError, ModelMissing, ModelCorrupt when started."""
    home = settings.home_path
    store = Store(home)
    pool = Pool(settings, store.resolve, lambda card: model_hash(store, card))
    decider = make_decider(settings, pool)
    audit = AuditLog(settings.audit_path, home, keep_text=settings.audit.keep_text)
    return Service(settings, pool, decider.policy, decider.router, audit, Metrics())


def model_hash(store: Store, card: SpecialistCard) -> str:
    """`sha256:` of the base (and adapter) that answers, or the upstream's name where the weights are elsewhere."""
    manifest = store.manifest(card.model)
    base = (
        f"sha256:{next(iter(manifest.files.values())).sha256}" if manifest else f"upstream:{card.backend}/{card.model}"
    )
    if card.adapter is None:
        return base
    try:
        digest = hashlib.sha256(Path(card.adapter).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"specialists.{card.name}.adapter cannot be read: {error}.", param=f"specialists.{card.name}.adapter"
        ) from error
    return f"{base}+sha256:{digest}"
