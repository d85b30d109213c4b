"""What `concertino doctor` looks at. Each check reads, changes nothing, and says what to do about what it finds."""

import os
import platform
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import psutil
from msgspec import Struct

from concertino import config
from concertino.audit.read import AuditReader, ChainState
from concertino.config import Settings
from concertino.errors import ConcertinoError, ConfigurationError, NotFound
from concertino.models.catalogue import load_catalogue
from concertino.models.inventory import EMBEDDED, needed
from concertino.models.sources.base import size
from concertino.models.store import Store, existing_parent
from concertino.registry import Overlay, lay_over

_ENGINE_OVERHEAD = 256 * 1024 * 1024
"""An engine's own memory beside its weights and its prompt cache: buffers and the conversations at work."""
_PULL_FACTOR = 2.1
"""A pull may need so many times a model's size while it unpacks."""
_ENGINE_PACKAGES = ("xllamacpp", "onnxruntime", "granian", "sqlalchemy")


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Struct, frozen=True):
    """What one check found: a sentence, and what to do unless all is well."""

    check: str
    state: State
    message: str
    remedy: str = ""


def examine(config_path: str | None, verify: bool) -> tuple[Finding, ...]:
    """Every finding, the machine first. A configuration that is not valid ends the list: the rest depends on it."""
    found = [*_software(), *_processor()]
    try:
        settings = config.load(config_path)
    except ConfigurationError as error:
        return (*found, Finding("configuration", State.PROBLEM, error.message, "Mend the file, then run this again."))
    overlay = lay_over(settings)
    settings = overlay.settings
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "configuration": lambda: _configuration(settings, config_path),
        "registry": lambda: _registry(overlay),
        "home": lambda: _home(settings),
        "models": lambda: _models(settings, verify),
        "memory": lambda: _memory(settings),
        "audit log": lambda: _audit(settings),
        "gateway": lambda: _endpoint(settings),
    }
    for name, check in checks.items():
        try:
            found += check()
        except ConcertinoError as error:
            found.append(Finding(name, State.PROBLEM, error.message, "Mend that, then run this again."))
    return tuple(found)


def _software() -> Iterator[Finding]:
    versions = []
    for name in _ENGINE_PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Finding("software", State.PROBLEM, f"{name} is not installed.", "Run: pip install concertino")
    own = metadata.version("concertino")
    said = f"concertino {own}, Python {platform.python_version()}, {', '.join(versions)}"
    yield Finding("software", State.OK, said)


def _processor() -> Iterator[Finding]:
    cores = usable_cores()
    flags = cpu_flags()
    fast = [
        label for flag, label in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_vnni", "VNNI")) if flag in flags
    ]
    if "avx_vnni" in flags and "VNNI" not in fast:
        fast.append("VNNI")
    if "neon" in flags or "asimd" in flags:
        fast.append("NEON")
    machine = f"{cores:g} core(s) usable, {', '.join(fast) or 'no vector extensions known'}"
    if not flags:
        yield Finding("processor", State.OK, f"{machine} (this system does not list them)")
    elif not fast:
        yield Finding(
            "processor", State.WARNING, machine, "Without AVX2 or NEON answers are slow; use another machine."
        )
    else:
        yield Finding("processor", State.OK, machine)


def _configuration(settings: Settings, config_path: str | None) -> Iterator[Finding]:
    from concertino.default_models import SENTENCE_ENCODER
    from concertino.orchestrator.decider import engineless
    from concertino.router.linear import LinearRouter

    where = config.find_config(config_path) or "built in"
    decider = engineless(settings)  # the router's weights and the detectors are read
    yield Finding("configuration", State.OK, f"{where}: {len(settings.specialists)} specialists; the router is whole")
    if unseen := decider.policy.unseen:
        said = f"No detector of policy.detectors looks for {' or '.join(unseen)}, so nothing counts as health data"
        yield Finding(
            "policy", State.WARNING, said, "Name one of each kind: the built-in ones, identifiers and health."
        )
    for card in settings.specialists:
        named = {card.name: card.adapter, **{f"{card.name}.skills.{one.name}": one.adapter for one in card.skills}}
        for where, adapter in named.items():
            if adapter and not Path(adapter).expanduser().exists():
                said = f"The adapter of {where} is not at {adapter}."
                yield Finding("configuration", State.PROBLEM, said, f"Correct specialists.{where}.adapter.")
    router = getattr(decider.router, "router", decider.router)  # a conversation's reads each turn by one of texts
    if isinstance(router, LinearRouter) and router.neighbours and (said := router.neighbours.trouble()):
        remedy = f"Run: concertino pull {SENTENCE_ENCODER} (or set router.options.neighbours_below to 0)"
        yield Finding("router", State.WARNING, said, remedy)


def _registry(overlay: Overlay) -> Iterator[Finding]:
    for problem in overlay.problems:
        remedy = "Until then the version before it, or the prompted skill, serves: promote it again, or roll it back."
        yield Finding("registry", State.PROBLEM, problem.message, remedy)
    if overlay.served or not overlay.problems:
        origins = [served.origin for served in overlay.served]
        counted = ", ".join(f"{origins.count(origin)} {origin}" for origin in dict.fromkeys(origins))
        said = f"{counted}; every file verified" if counted else "no version of a skill serves"
        yield Finding("registry", State.OK, said)


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home_path
    place = existing_parent(home)
    if home.exists() and not home.is_dir():
        yield Finding("home", State.PROBLEM, f"{home} is not a folder.", "Set CONCERTINO_HOME to a folder.")
    elif not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            "home", State.PROBLEM, f"{place} cannot be written.", "Set CONCERTINO_HOME, or mend its permissions."
        )
    else:
        yield Finding("home", State.OK, f"{home}{'' if home.exists() else ' (made when it is needed)'}")


def _models(settings: Settings, verify: bool) -> Iterator[Finding]:
    store = Store(settings.home_path)
    wanted = list(needed(settings))
    catalogue = load_catalogue(settings.home_path)
    missing = 0
    for name in wanted:
        try:
            for file in store.require(name).everything:
                store.resolve(name, file, verify=False)
            if verify:
                store.verify(name)
        except ConcertinoError as error:
            entry = catalogue.entries.get(name)
            missing += entry.bytes if entry else 0
            yield Finding("models", State.PROBLEM, error.message, f"Run: concertino pull {name}")
        else:
            about = "every byte verified" if verify else "size right"
            yield Finding("models", State.OK, f"{name} is here, {about}")
    if not wanted:
        yield Finding("models", State.OK, "the team needs no model of the catalogue")
    yield _disk(store, missing)


def _disk(store: Store, missing: int) -> Finding:
    free = psutil.disk_usage(str(existing_parent(store.root))).free
    if missing * _PULL_FACTOR > free:
        said = f"{size(free)} free, and pulling what is missing may need {size(missing * _PULL_FACTOR)}"
        return Finding("disk", State.PROBLEM, said, "Free some space, or set CONCERTINO_HOME to a larger disk.")
    need = f"; {size(missing)} are missing" if missing else ""
    return Finding("disk", State.OK, f"{size(free)} free{need}")


def _memory(settings: Settings) -> Iterator[Finding]:
    if not needed(settings):
        yield Finding("memory", State.OK, f"{size(memory_limit())}; the team's models run elsewhere")
        return
    need = memory_needed(settings)
    limit, available = memory_limit(), psutil.virtual_memory().available
    have = min(limit, available)
    said = f"about {size(need)} needed by the engines, {size(have)} available of {size(limit)}"
    if need > limit:
        yield Finding("memory", State.PROBLEM, said, "Choose smaller models, or a machine with more memory.")
    elif need > have and _running(settings) is None:
        yield Finding("memory", State.WARNING, said, "End what uses it, or expect swapping.")
    else:
        yield Finding("memory", State.OK, said)


def _audit(settings: Settings) -> Iterator[Finding]:
    path = settings.audit_path
    try:
        verified = AuditReader(path).verify()
    except NotFound:
        yield Finding("audit log", State.OK, f"{path} is made with the first request")
        return
    if verified.state is not ChainState.INTACT:
        said = f"{path} is broken at record {verified.bad_seq}: {verified.reason}."
        yield Finding(
            "audit log", State.PROBLEM, said, "Keep a copy as evidence; `concertino audit verify` tells more."
        )
        return
    refused = _cannot_write(path)
    if refused:
        yield Finding(
            "audit log",
            State.PROBLEM,
            f"{path} cannot be written ({refused}).",
            "Without it nothing is answered; mend it.",
        )
        return
    yield Finding("audit log", State.OK, f"{path}: {verified.records} records, the chain is intact")


def _cannot_write(path: Path) -> str:
    """Why the log cannot be written, or an empty string. A write is begun and taken back."""
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return "permission denied"
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=2)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return str(error)
    return ""


def _endpoint(settings: Settings) -> Iterator[Finding]:
    running = _running(settings)
    if running is not None:
        yield Finding("gateway", State.OK, f"running at {running}")
        return
    from concertino.gateway.server import claim_port

    host, port = settings.gateway.host, settings.gateway.port
    try:
        claim_port(host, port)
    except ConcertinoError as error:
        yield Finding("gateway", State.PROBLEM, error.message, "Free it, or set gateway.port.")
    else:
        yield Finding("gateway", State.OK, f"not running; port {port} on {host} is free")


def _running(settings: Settings) -> str | None:
    from concertino.gateway.note import running_gateway

    running = running_gateway(settings)
    return running.url if running else None


def memory_needed(settings: Settings) -> int:
    """Bytes that the embedded engines take, reckoned from their weights: one engine per base model."""
    catalogue, store = load_catalogue(settings.home_path), Store(settings.home_path)
    total = 0
    for name in needed(settings):
        entry, manifest = catalogue.entries.get(name), store.manifest(name)
        total += (entry.bytes if entry else manifest.bytes if manifest else 0) + _ENGINE_OVERHEAD
    caches = [
        int(backend.options.get("prompt_cache_mib", 256)) * 1024 * 1024
        for backend in settings.backends.values()
        if backend.type == EMBEDDED
    ]
    return total + sum(caches)


def memory_limit() -> int:
    """Bytes of memory that this process may use: the machine's, or the container's where that is less."""
    total = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(total, int(Path(path).read_text("ascii")))
        except (OSError, ValueError):
            continue
    return int(total)


def usable_cores() -> float:
    """Cores that this process may use: its affinity, or the container's quota where that is less."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        return cores


def cpu_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        word for line in lines if line.lower().startswith(("flags", "features")) for word in line.split()[2:]
    )
