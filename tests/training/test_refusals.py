"""A training that runs away, reads too little of its texts or meets another in its folder says so."""

import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from concertino.datasets.folder import Row, open_dataset
from concertino.errors import TrainingRefused
from concertino.models import Manifest, Store
from concertino.models.store import StoredFile
from concertino.training.result import RESULT, read_result
from concertino.training.train import train
from tests.training import tiny
from tests.training.encoders import WORDS, tiny_encoder
from tests.training.test_encoder import dataset, recipe

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny encoder and a dataset of colours."""
    tiny_encoder(tmp_path / "base")
    dataset(tmp_path / "data")
    return tmp_path


def encoder(folder: Path, notes: list[str] | None = None, **training: Any) -> Path:
    """Train on the folder's dataset; the run folder."""
    plan = recipe(base=str(folder / "base"), **training)
    note = (lambda _: None) if notes is None else notes.append
    train(plan, open_dataset(folder / "data"), Store(folder), folder / "run", note)
    return folder / "run"


def break_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the encoder's loss be no number from the step after `steps` on."""
    from concertino.training import encoder_loop

    sound, made = encoder_loop._loss, [0]

    def broken(*arguments: Any) -> Any:
        made[0] += 1
        loss = sound(*arguments)
        return loss * float("nan") if made[0] > steps else loss

    monkeypatch.setattr(encoder_loop, "_loss", broken)


@pytest.mark.parametrize("steps", [0, 13])
def test_an_encoder_whose_loss_is_no_number_is_refused_and_its_checkpoint_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    break_after(monkeypatch, steps)
    with pytest.raises(TrainingRefused, match=f"step {steps + 1} .*[Ll]ower training.learning_rate") as refused:
        encoder(folder, checkpoint_steps=5)
    assert refused.value.param == "training.learning_rate"
    run = folder / "run"
    assert not (run / RESULT).exists() and not (run / "adapter").exists()
    kept = sorted(path.name[:13] for path in (run / "checkpoints").glob("step-*")) if steps else []
    assert kept == (["step-00000005", "step-00000010"] if steps else [])


def test_a_gradient_that_is_no_number_is_no_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(TrainingRefused, match="step 1 "):
        encoder(folder)


def test_a_language_model_whose_loss_is_no_number_is_refused_and_its_checkpoint_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concertino.training.causal import train as train_causal
    from concertino.training.causal_step import Trainee

    base = tiny.write_base(tmp_path / "base.gguf")
    data = tiny.dataset(tmp_path / "data", tiny.pets(40))
    sound, made = Trainee.forward, [0]

    def broken(self: Any, ids: Any, places: Any = None, *rest: Any, **options: Any) -> Any:
        made[0] += places is not None
        out = sound(self, ids, places, *rest, **options)
        return out * float("nan") if places is not None and made[0] > 7 else out

    monkeypatch.setattr(Trainee, "forward", broken)
    with pytest.raises(TrainingRefused, match=r"step 8 .*[Ll]ower training.learning_rate") as refused:
        train_causal(tiny.recipe(), data, base, tmp_path / "run")
    assert refused.value.param == "training.learning_rate"
    assert not (tmp_path / "run" / "adapter").exists()
    assert [path.name[:13] for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-00000005"]


def long_rows(folder: Path, long: int, words: int) -> None:
    """A dataset of 40 rows, of which `long` have so many words."""
    rows = [
        Row(str(n), " ".join(["red", "blue"][n % 2 : n % 2 + 1] + WORDS[:1] * (words if n < long else 3)), (label,))
        for n in range(40)
        for label in (("red", "blue")[n % 2],)
    ]
    tiny_encoder(folder / "base")
    dataset(folder / "data", {"train": rows, "dev": rows[:4]})


def test_rows_that_lose_their_middle_are_counted_and_told(tmp_path: Path) -> None:
    long_rows(tmp_path, 15, 38)  # and [CLS], the colour, [SEP]
    notes: list[str] = []
    run = encoder(tmp_path, notes, epochs=1)
    assert any("15 of 40 rows are longer than max_tokens 32 (the longest has 41)" in note for note in notes)
    assert read_result(run).rows_cut == 15


def test_where_most_of_most_texts_would_be_lost_nothing_is_trained(tmp_path: Path) -> None:
    long_rows(tmp_path, 25, 90)
    with pytest.raises(TrainingRefused, match=r"25 of 40 rows .*lose more than half.*training.max_tokens") as refused:
        encoder(tmp_path)
    assert refused.value.param == "training.max_tokens" and not (tmp_path / "run" / RESULT).exists()


def test_no_more_is_read_than_the_base_has_places_for(tmp_path: Path) -> None:
    long_rows(tmp_path, 15, 80)
    notes: list[str] = []
    assert read_result(encoder(tmp_path, notes, epochs=1, max_tokens=1000)).rows_cut == 15
    assert any("longer than the 64 tokens that the base reads" in note for note in notes)


def test_records_of_before_the_count_can_be_read(folder: Path) -> None:
    run = encoder(folder, epochs=1)
    plain = msgspec.json.decode((run / RESULT).read_bytes())
    assert plain.pop("rows_cut") == 0
    (run / RESULT).write_bytes(msgspec.json.encode(plain))
    assert read_result(run).rows_cut == 0


def test_two_trainings_do_not_share_a_folder(folder: Path) -> None:
    (folder / "run").mkdir()
    handle = os.open(folder / "run", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(TrainingRefused, match="Another run is training into") as refused:
        encoder(folder, epochs=1)
    assert refused.value.param == "out" and not list((folder / "run").iterdir())
    os.close(handle)
    assert read_result(encoder(folder, epochs=1)).steps > 0


def stored(folder: Path, *names: str) -> Store:
    """A store with the model `tiny` of these files; for an encoder with a GGUF file that was derived from them."""
    store = Store(folder / "home")
    store.blobs.mkdir(parents=True)
    files: dict[str, StoredFile] = {}
    for name in (*names, "tiny-derived.gguf"):
        digest = f"{len(files):064x}"
        store.blob(digest).write_bytes(b"x")
        files[name] = StoredFile(digest, 1)
    derived = {"tiny-derived.gguf": files.pop("tiny-derived.gguf")}
    store.record(Manifest("tiny", files, {} if names[0].endswith(".gguf") else derived))
    return store


def test_a_language_model_is_no_base_for_an_encoder(folder: Path) -> None:
    store = stored(folder, "tiny-q8.gguf")
    with pytest.raises(TrainingRefused, match=r"tiny is a language model.*engine: causal.*all-MiniLM-L6-v2") as refused:
        train(recipe(base="tiny"), open_dataset(folder / "data"), store, folder / "run")
    assert refused.value.param == "training.base"


@pytest.mark.parametrize("place", ["store", "folder"])
def test_an_encoder_is_no_base_for_a_language_model(tmp_path: Path, place: str) -> None:
    data = tiny.dataset(tmp_path / "data", tiny.pets(9))
    tiny_encoder(tmp_path / "base")
    store = stored(tmp_path, "model.safetensors", "config.json", "tokenizer.json")
    base = "tiny" if place == "store" else str(tmp_path / "base")
    with pytest.raises(TrainingRefused, match=r"is an encoder.*engine: encoder.*smollm2-135m-instruct") as refused:
        train(tiny.recipe(base=base), data, store, tmp_path / "run")
    assert refused.value.param == "training.base"


def test_an_encoder_with_a_derived_file_for_language_models_is_an_encoder(tmp_path: Path) -> None:
    from concertino.training.train import encoder_files

    store = stored(tmp_path, "model.safetensors", "config.json", "tokenizer.json")
    assert encoder_files(store, "tiny").weights == store.resolve("tiny", "model.safetensors")
