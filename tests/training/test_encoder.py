"""The encoder engine: training, resuming, and that the served adapter answers as the trained one does."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from concertino.backends.base import BackendContext, Generation, ModelUse
from concertino.backends.encoder import EncoderBackend
from concertino.backends.encoder.session import SHIPPED_GRAPH, SHIPPED_SHAPE, EncoderFiles
from concertino.config import SkillCard
from concertino.datasets.folder import Dataset, DatasetManifest, Part, Row, open_dataset, write_manifest, write_rows
from concertino.errors import ConcertinoError, ConfigurationError, DataRefused, TrainingRefused
from concertino.models.adapters import read_adapter
from concertino.models.file_hash import file_sha256
from concertino.models.store import Store
from concertino.recipe import Data, Recipe, Source, Training
from concertino.registry.version import Figures, Lineage, Version, named
from concertino.training.lexical import fit_lexical
from concertino.types import Chunk, Message, Role
from tests.training.encoders import WORDS, tiny_encoder

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")


def recipe(**training: object) -> Recipe:
    options: dict[str, Any] = {
        "epochs": 6.0,
        "batch": 8,
        "rank": 4,
        "learning_rate": 5e-3,
        "max_tokens": 32,
        "threads": 1,
        **training,
    }
    return Recipe("team/colour", "d", "i", Data((Source("x"),)), training=Training(**options))


def dataset(folder: Path, rows: dict[str, list[Row]] | None = None) -> Dataset:
    """Texts with the word `red` or `blue` among others; the background has neither."""
    if rows is None:
        made = [
            Row(str(n), f"{WORDS[n % 20]} {colour} {WORDS[(n * 7) % 20]}", (colour,))
            for n in range(48)
            for colour in ("red", "blue")
        ]
        outside = [Row(f"b{n}", f"{WORDS[20 + n % 10]} {WORDS[20 + (n * 3) % 10]}", group="train") for n in range(60)]
        rows = {"train": made[:64], "dev": made[64:], "background": outside}
    folder.mkdir(parents=True)
    parts = {Part(name): write_rows(folder / f"{name}.jsonl", part) for name, part in rows.items()}
    counts: dict[str, int] = {}
    for label in (label for part in rows.values() for row in part for label in row.labels):
        counts[label] = counts.get(label, 0) + 1
    write_manifest(folder, DatasetManifest("team/colour", "r", "now", parts, counts))
    return open_dataset(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> EncoderFiles:
    return tiny_encoder(tmp_path_factory.mktemp("base"))


async def answer(adapter: Path, base: EncoderFiles, *texts: str) -> list[Chunk]:
    files = {"config.json": base.config, "model.safetensors": base.weights, "tokenizer.json": base.tokenizer}
    use = ModelUse("tiny", adapters=(str(adapter),))
    backend = EncoderBackend(BackendContext("encoder", {}, (use,), Path, lambda _, name: files[name]))
    await backend.start()
    try:
        found = []
        for text in texts:
            async for chunk in backend.generate(Generation("tiny", (Message(Role.USER, text),), adapter=str(adapter))):
                found.append(chunk)
        return found
    finally:
        await backend.close()


def test_a_trained_adapter_answers_with_the_right_label_and_doubts_what_it_is_not_for(
    tmp_path: Path, base: EncoderFiles
) -> None:
    from concertino.training.encoder import train

    result = train(recipe(members=2), dataset(tmp_path / "data"), base, tmp_path / "run")
    assert result.best_dev is not None and result.best_dev > 0.9
    inside = asyncio.run(answer(tmp_path / "run" / "adapter", base, f"{WORDS[3]} red", f"{WORDS[5]} blue {WORDS[1]}"))
    assert [chunk.text for chunk in inside] == ["red", "blue"]
    (outside,) = asyncio.run(answer(tmp_path / "run" / "adapter", base, f"{WORDS[23]} {WORDS[26]}"))
    sure = [chunk.confidence for chunk in inside]
    assert outside.confidence is not None
    assert all(one is not None and one > outside.confidence for one in sure)
    assert (tmp_path / "run" / "member-0" / "curves.png").is_file()


def test_members_that_were_trained_are_not_trained_again_for_more_of_them(tmp_path: Path, base: EncoderFiles) -> None:
    from concertino.training.encoder import train

    data = dataset(tmp_path / "data")
    first = train(recipe(members=2), data, base, tmp_path / "two")
    for number in range(2):
        shutil.copytree(tmp_path / f"two/member-{number}", tmp_path / f"three/member-{number}")
    said: list[str] = []
    result = train(recipe(members=3, lexical=False), data, base, tmp_path / "three", said.append)
    going_on = [line for line in said if "going on from step" in line]
    assert len(going_on) == 2
    assert result.steps == first.steps // 2 * 3
    two, three = (load_file(tmp_path / f"{run}/adapter/adapter.safetensors") for run in ("two", "three"))
    assert all(np.array_equal(two[name], three[name]) for name in two if name[0] in "01")
    assert {name[0] for name in three} == {"0", "1", "2", "s"}
    shutil.copytree(tmp_path / "two/member-0", tmp_path / "other/member-0")
    with pytest.raises(TrainingRefused):
        train(recipe(members=3, rank=2), data, base, tmp_path / "other")


def version_of(run: Path, of: Recipe, data: Dataset, folder: Path) -> Path:
    """A version's folder with the adapter of a run."""
    shutil.copytree(run / "adapter", folder / "adapter")
    (folder / "recipe.yaml").write_bytes(msgspec.yaml.encode(of))
    manifest = read_adapter(folder / "adapter")
    files = {str(path.relative_to(folder)): file_sha256(path) for path in folder.rglob("*") if path.is_file()}
    version = Version(
        name=of.name,
        card=SkillCard("colour", "d", "i"),
        base=manifest.base,
        base_sha256=manifest.base_sha256,
        figures=Figures("accuracy", 1.0, 1.0, 1.0, 1),
        lineage=Lineage(of.digest, data.manifest.content, "run"),
        files=files,
    )
    (folder / "version.json").write_bytes(msgspec.json.encode(named(version, "now")))
    return folder


def test_members_of_an_earlier_version_are_taken_over(tmp_path: Path, base: EncoderFiles) -> None:
    from concertino.training.encoder import train

    data = dataset(tmp_path / "data")
    first = train(recipe(members=1), data, base, tmp_path / "one")
    version = version_of(tmp_path / "one", recipe(members=1), data, tmp_path / "version")
    said: list[str] = []
    result = train(recipe(members=2), data, base, tmp_path / "two", said.append, version)
    assert [line for line in said if "member 1 of 2: taken over" in line]
    assert (result.steps, result.members_from[:6]) == (first.steps, "1 of 2")
    one, two = (load_file(tmp_path / f"{run}/adapter/adapter.safetensors") for run in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one if name.startswith(("0.", "scope.")))
    assert any(not np.array_equal(two[name], two[f"1.{name[2:]}"]) for name in two if name.startswith("0."))
    again = train(recipe(members=1), data, base, tmp_path / "again", members_from=version)
    assert (again.steps, again.best_dev) == (0, first.best_dev)
    with pytest.raises(TrainingRefused, match="of another recipe"):
        train(recipe(members=2, rank=2), data, base, tmp_path / "other", members_from=version)
    with pytest.raises(TrainingRefused, match="of another dataset"):
        rows = {part: list(data.rows(Part(part)))[1:] for part in ("train", "dev")}
        train(recipe(members=2), dataset(tmp_path / "less", rows), base, tmp_path / "other", members_from=version)
    (version / "adapter/adapter.json").write_bytes(b"{}")
    with pytest.raises(TrainingRefused, match="damaged"):
        train(recipe(members=2), data, base, tmp_path / "other", members_from=version)


def test_the_lexical_half_heeds_class_balance() -> None:
    pytest.importorskip("sklearn")
    rows = [(f"plain {word}", (0,)) for word in WORDS] + [(f"{word} odd plain", (1,)) for word in WORDS[:2]]
    even = np.log(np.full((4, 2), 0.5))
    dev = [("odd word9", (1,)), ("odd word8", (1,)), ("plain word9", (0,)), ("plain word8", (0,))]
    fitted = [fit_lexical(rows, dev, even, 2, balance) for balance in (0.0, 1.0)]
    assert fitted[0] is not None
    assert fitted[1] is not None
    assert fitted[1].probabilities("odd word20")[1] > fitted[0].probabilities("odd word20")[1] + 0.1


def test_the_served_probabilities_are_those_of_the_trained_model(tmp_path: Path, base: EncoderFiles) -> None:
    from concertino.backends.encoder.session import Encoder, load_adapter
    from concertino.training.encoder import train
    from concertino.training.encoder_graph import write_graph
    from concertino.training.encoder_model import EncoderModel

    train(recipe(), dataset(tmp_path / "data"), base, tmp_path / "run")
    adapter = load_adapter(tmp_path / "run" / "adapter", None)
    write_graph(tiny_shape := Encoder(base, tmp_path / "run" / "adapter" / "graph.onnx").shape, tmp_path / "graph.onnx")
    served = Encoder(base, tmp_path / "graph.onnx")
    model = EncoderModel(tiny_shape, base.weights, 2, 4, 8.0, 0.0).eval()
    arrays = {name: torch.from_numpy(value.numpy().copy()) for name, value in adapter.members[0].inputs.items()}
    for name, module in model.linear.items():
        layer, part = name.split("_")
        module.A.data = arrays[f"layer.{layer}.{part}.A"]
        module.B.data = arrays[f"layer.{layer}.{part}.B"] / module.scale
    text = f"{WORDS[3]} red {WORDS[9]}"
    tokens = served.tokens(text, 32)
    with torch.no_grad():
        wanted = model.pooled([tokens, tokens[:3]])[0].numpy()
    assert np.allclose(served.pooled(tokens, adapter.members[0].inputs), wanted, atol=1e-5)


def test_the_graph_in_the_package_is_the_one_that_the_code_writes(tmp_path: Path) -> None:
    from concertino.training.encoder_graph import write_graph

    write_graph(SHIPPED_SHAPE, tmp_path / "graph.onnx")
    assert (tmp_path / "graph.onnx").read_bytes() == SHIPPED_GRAPH.read_bytes()


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_weights(tmp_path: Path, base: EncoderFiles) -> None:
    from concertino.training.encoder import train

    plan = recipe(epochs=30, checkpoint_steps=10, dropout=0.1)
    data = dataset(tmp_path / "data")
    train(plan, data, base, tmp_path / "whole")
    script = tmp_path / "child.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from concertino.datasets.folder import open_dataset\n"
        "from concertino.training.encoder import train\n"
        "from tests.training.encoders import files_in\n"
        "from tests.training.test_encoder import recipe\n"
        "plan = recipe(epochs=30, checkpoint_steps=10, dropout=0.1)\n"
        "train(plan, open_dataset(Path(sys.argv[1])), files_in(Path(sys.argv[2])), Path(sys.argv[3]))\n"
    )
    arguments = [sys.executable, str(script), str(tmp_path / "data"), str(base.config.parent), str(tmp_path / "killed")]
    root = Path(__file__).parents[2]
    child = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"})
    deadline = time.monotonic() + 120
    # Well after the warm-up, so that every part of the state has taken on the form that it keeps.
    while not list((tmp_path / "killed").glob("checkpoints/step-0000004*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list((tmp_path / "killed").glob("checkpoints/step-*")), "killed before its first checkpoint"
    assert not (tmp_path / "killed" / "training.json").exists()
    said: list[str] = []
    train(plan, data, base, tmp_path / "killed", said.append)
    assert any("going on from step" in line for line in said)
    one, other = ((tmp_path / run / "adapter" / "adapter.safetensors").read_bytes() for run in ("whole", "killed"))
    assert one == other


def test_data_that_would_teach_nothing_is_refused(tmp_path: Path, base: EncoderFiles) -> None:
    from concertino.training.encoder import train

    alike = [Row(str(n), f"{WORDS[n]} red", ("red",)) for n in range(5)]
    with pytest.raises(DataRefused, match="nothing to tell apart"):
        train(recipe(), dataset(tmp_path / "one", {"train": alike}), base, tmp_path / "run")
    bare = [Row("1", "red"), Row("2", "blue", ("blue",)), Row("3", "red", ("red",))]
    with pytest.raises(DataRefused, match="1 of 3 train rows have no label"):
        train(recipe(), dataset(tmp_path / "bare", {"train": bare}), base, tmp_path / "run")
    unseen = [*alike, Row("6", "blue", ("blue",))]
    with pytest.raises(DataRefused, match=r"no training row: 'green' \(1 rows elsewhere\)"):
        train(
            recipe(),
            dataset(tmp_path / "unseen", {"train": unseen, "dev": [Row("7", "x", ("green",))]}),
            base,
            tmp_path / "run",
        )


def test_a_base_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    from concertino.training.train import encoder_files

    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(TrainingRefused, match=r"has no model\.safetensors"):
        encoder_files(Store(tmp_path / "home"), str(tmp_path))


def test_an_adapter_for_another_base_and_a_damaged_one_are_refused(tmp_path: Path, base: EncoderFiles) -> None:
    from concertino.training.encoder import train

    train(recipe(epochs=1), dataset(tmp_path / "data"), base, tmp_path / "run")
    other = tiny_encoder(tmp_path / "other", seed=5)
    adapter = tmp_path / "run" / "adapter"
    with pytest.raises(ConfigurationError, match="was trained on"):
        asyncio.run(answer(adapter, other, "red"))
    manifest = json.loads((adapter / "adapter.json").read_text())
    (adapter / "adapter.json").write_text(json.dumps({**manifest, "labels": ["red"]}))
    with pytest.raises(ConcertinoError, match="no head for its 1 labels"):
        asyncio.run(answer(adapter, base, "red"))
    weights = adapter / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ConfigurationError, match="is not the file"):
        asyncio.run(answer(adapter, base, "red"))
