"""A finished run on disk, as curate, train and evaluate leave it, without any of them: files with made-up figures."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from concertino.datasets.folder import DatasetManifest, Part, Row, SourceInfo, open_dataset, write_rows
from concertino.datasets.folder import write_manifest as write_dataset
from concertino.models.adapters import MANIFEST, AdapterManifest, write_manifest
from concertino.models.catalogue import load_catalogue
from concertino.models.file_hash import file_sha256
from concertino.recipe_file import load_recipe

NAME = "legal/clause-type"
LABELS = ("audit rights", "liability")
TEST_ROWS = 80


class Finished:
    """A recipe, a dataset and an evaluated run in a folder of their own."""

    def __init__(self, folder: Path, weights: bytes = b"weights", name: str = NAME, **recipe: Any) -> None:
        self.name = name
        self.recipe, self.dataset, self.run = folder / "recipe.yaml", folder / "dataset", folder / "runs" / "first"
        for path in (self.dataset, self.run / "adapter", self.run / "evaluation"):
            path.mkdir(parents=True)
        about: dict[str, Any] = {
            "name": self.name,
            "description": "What a clause is about.",
            "instruction": "Say which. {labels}",
            "data": {"sources": [{"path": "clauses.jsonl", "label": "label"}]},
            "on_low_confidence": "escalate",
        }
        self.recipe.write_text(yaml.safe_dump(about | recipe), "utf-8")
        self.write_dataset()
        self.write_adapter(weights)
        self.write_training()
        self.predict()
        self.evaluate()

    @property
    def arguments(self) -> list[str]:
        return ["promote", str(self.recipe), "--run", str(self.run), "--dataset", str(self.dataset)]

    @property
    def content(self) -> str:
        return open_dataset(self.dataset).manifest.content

    def rows(self, part: str, count: int) -> list[Row]:
        said = "{} clause number {} of the {} part speaks of matters {} and {}"
        return [
            Row(f"{part}-{n}", said.format(LABELS[n % 2], n, part, n * 7, n * 13), (LABELS[n % 2],), group=f"{part}{n}")
            for n in range(count)
        ]

    def write_dataset(self, **parts: list[Row]) -> None:
        given = {"train": self.rows("train", 40), "test": self.rows("test", TEST_ROWS)} | parts
        infos = {Part(name): write_rows(self.dataset / f"{name}.jsonl", rows) for name, rows in given.items()}
        source = SourceInfo("clauses.jsonl", "a" * 64, 1000, 120, "CC-BY-4.0", "a public set of clauses")
        manifest = DatasetManifest(self.name, "r" * 64, "2026-01-01T00:00:00+00:00", infos, {}, (source,))
        write_dataset(self.dataset, manifest)
        (self.dataset / "datasheet.md").write_text("# Data sheet\n", "utf-8")

    def write_adapter(self, weights: bytes, **changes: Any) -> None:
        entry = load_catalogue(self.dataset).entry("all-MiniLM-L6-v2")
        base = next(file.sha256 for file in entry.files if file.name == "model.safetensors")
        (self.run / "adapter" / "adapter.safetensors").write_bytes(weights)
        about: dict[str, Any] = {"engine": "encoder", "base": entry.name, "base_sha256": base, "rank": 8, "alpha": 16.0}
        write_manifest(self.run / "adapter", AdapterManifest(**(about | {"labels": LABELS} | changes)))

    def write_training(self, **changes: Any) -> None:
        adapter = msgspec.json.decode((self.run / "adapter" / MANIFEST).read_bytes())
        record = {
            "name": self.name,
            "recipe_digest": load_recipe(self.recipe).digest,
            "dataset": self.content,
            **{name: adapter[name] for name in ("engine", "base", "base_sha256")},
            **dict.fromkeys(("seed", "steps", "tokens", "best_step", "threads", "rows"), 1),
            **dict.fromkeys(("epochs", "seconds", "best_dev"), 0.9),
            "metric": "accuracy",
        }
        (self.run / "training.json").write_bytes(msgspec.json.encode(record | changes))

    def predict(self, wrong: tuple[int, ...] = ()) -> None:
        lines = []
        for number, row in enumerate(self.rows("test", TEST_ROWS)):
            answer = LABELS[1 - number % 2] if number in wrong else row.labels[0]
            line = {"id": row.id, "group": row.group, "expected": row.labels, "answer": answer, "confidence": 0.9}
            lines.append(line | {"right": number not in wrong, "runner": "specialist"})
            lines.append(line | {"right": False, "answer": None, "runner": "TF-IDF"})
        path = self.run / "evaluation" / "predictions.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def evaluate(
        self,
        over_generalist: float = 0.3,
        over_classical: float = 0.05,
        p: float | None = 0.01,
        paired: int = TEST_ROWS,
        **changes: Any,
    ) -> None:
        def runner(name: str, kind: str, value: float) -> dict[str, Any]:
            return {
                "name": name,
                "kind": kind,
                "rows": 80,
                "value": value,
                "lower": value - 0.05,
                "upper": value + 0.05,
            }

        def comparison(name: str, difference: float, cpu_ratio: float | None) -> dict[str, Any]:
            bounds = {"lower": difference - 0.04, "upper": difference + 0.04}
            return {"name": name, "rows": paired, "difference": difference, "cpu_ratio": cpu_ratio, "p": p} | bounds

        report = {
            "name": self.name,
            "part": "test",
            "metric": "accuracy",
            "recipe_digest": load_recipe(self.recipe).digest,
            "dataset_content": self.content,
            "adapter": file_sha256(self.run / "adapter" / MANIFEST),
            "rows": 80,
            "runners": [
                runner("specialist", "specialist", 0.9),
                runner("TF-IDF", "classical", 0.9 - over_classical),
                runner("generalist", "generalist", 0.9 - over_generalist),
            ],
            "comparisons": [
                comparison("TF-IDF", over_classical, 2.0),
                comparison("generalist", over_generalist, 0.01),
            ],
            "calibration": {"threshold": 0.6, "temperature": 1.1, "alpha": 0.05, "abstention": "fitted"},
            "on_test": {"coverage": 0.9, "risk": 0.02, "risk_bound": 0.05},
            "out_of_scope": {"rows": 50, "answered": 0.04, "auroc": 0.98},
            "labels": [],
            "command": "concertino evaluate recipe.yaml",
            "created": "2026-01-02T00:00:00+00:00",
        }
        (self.run / "evaluation" / "evaluation.json").write_bytes(msgspec.json.encode(report | changes))
