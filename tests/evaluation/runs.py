"""A dataset, a run folder and a store in which every engine echoes: the whole way of an evaluation without a model."""

import hashlib
from pathlib import Path

from concertino.datasets.folder import DatasetManifest, Part, Row, write_manifest, write_rows
from concertino.models import Manifest, Store
from concertino.models.adapters import AdapterManifest
from concertino.models.adapters import write_manifest as write_adapter
from concertino.models.store import StoredFile
from concertino.recipe import Data, EvaluationPlan, Recipe, Source
from concertino.training.result import TrainingResult, write_result

LABELS = ("bird", "cat", "dog")
NAME = "zoo/animal"
RECIPE = Recipe(
    NAME,
    "Which animal.",
    "Name the animal: {labels}.",
    Data((Source("x.jsonl"),)),
    evaluation=EvaluationPlan(generalist="echo-model", generalist_rows=20),
)
WORDS = ("sings on the roof", "sleeps by the fire", "runs after a stick", "eats from a bowl", "looks at the door")


def animal_rows(part: str, count: int, wrong_every: int = 0) -> list[Row]:
    """Texts that name their animal; every `wrong_every`th is labelled as another one."""
    rows = []
    for number in range(count):
        named = LABELS[number % 3]
        label = LABELS[(number + 1) % 3] if wrong_every and number % wrong_every == 0 else named
        rows.append(Row(f"{part}-{number}", f"the {named} {WORDS[number % 5]}, {part} {number}", (label,)))
    return rows


def write_dataset(folder: Path, **replaced: list[Row]) -> str:
    """A dataset of 3 labels; returns its content hash."""
    folder.mkdir(parents=True)
    parts = {
        "train": animal_rows("train", 60),
        "dev": animal_rows("dev", 60),
        "calibration": animal_rows("calibration", 120),
        "test": animal_rows("test", 60, wrong_every=10),
        "background": [Row(f"b-{n}", f"a question about tax {n}", group=("train", "test")[n % 2]) for n in range(10)],
    } | replaced
    infos = {Part(name): write_rows(folder / f"{name}.jsonl", rows) for name, rows in parts.items()}
    manifest = DatasetManifest(NAME, RECIPE.digest, "2026-01-01T00:00:00Z", infos, dict.fromkeys(LABELS, 100))
    write_manifest(folder, manifest)
    return manifest.content


def write_run(folder: Path, content: str) -> None:
    """A finished training of a causal adapter, as far as an evaluation looks."""
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter.gguf").write_bytes(b"GGUF")
    write_adapter(folder / "adapter", AdapterManifest("causal", "echo-model", "0" * 64, 8, 16.0, LABELS))
    write_result(
        folder,
        TrainingResult(
            NAME, RECIPE.digest, content, "causal", "echo-model", "0" * 64, 0, 1, 1.0, 1, 1.0, "accuracy", 1.0, 1, 1, 60
        ),
    )


def echo_store(home: Path, *models: str) -> Store:
    """A store that holds the models of the test's recipe, or those named; an engine that echoes never reads them."""
    store = Store(home)
    for name in (*(models or ("echo-model",)), "all-MiniLM-L6-v2"):
        raw = name.encode()
        digest = hashlib.sha256(raw).hexdigest()
        part = home / f"{name}.part"
        home.mkdir(parents=True, exist_ok=True)
        part.write_bytes(raw)
        store.adopt(part, digest)
        file = "model.safetensors" if name == "all-MiniLM-L6-v2" else f"{name}.gguf"
        store.record(Manifest(name, {file: StoredFile(digest, len(raw))}))
    return store
