"""MODEL_CARD.md: what its front matter claims, the Hub can look up; what it cannot is told in the text alone."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec import structs

from concertino.models.adapters import read_adapter
from concertino.models.catalogue import load_catalogue
from concertino.registry.candidate import read_report
from concertino.registry.gate import Threshold
from concertino.registry.model_card import base_repository, dataset_ids, model_card
from concertino.registry.version import SourceFile
from tests.registry.runs import Finished
from tests.registry.versions import version

SHIPPED = Path(__file__).parents[2] / "src/concertino/shipped"


def card(folder: Path, *sources: SourceFile, base: str = "all-MiniLM-L6-v2") -> tuple[dict[str, Any], str]:
    """Front matter and text of a card whose version was made of `sources`."""
    run = Finished(folder).run
    made = version("a")
    origins = tuple(source.origin for source in sources if source.origin)
    made = structs.replace(made, datasets=origins, lineage=structs.replace(made.lineage, sources=sources))
    entry = load_catalogue(folder).entry(base)
    _, front, text = model_card(made, read_report(run), entry, read_adapter(run / "adapter")).split("---\n", 2)
    return yaml.safe_load(front), text


def test_a_base_has_the_name_of_its_publisher_s_repository(tmp_path: Path) -> None:
    entries = load_catalogue(tmp_path).entries
    assert {name: base_repository(entry) for name, entry in entries.items()} == {
        "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",  # the file is of another's repository
        "qwen2.5-coder-0.5b-instruct": "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        "qwen2.5-coder-1.5b-instruct": "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    }
    unknown = structs.replace(entries["all-MiniLM-L6-v2"], publisher="us", licence_url="https://example.com/us/x")
    assert base_repository(unknown) is None


def test_only_what_can_be_a_dataset_of_the_hub_is_named_as_one() -> None:
    origins = [
        "PolyAI-LDN/task-specific-datasets banking_data/train.csv",
        "HazyResearch/legalbench@49bf0a8 tasks/overruling/test.tsv",
        "background texts",
        "PolyAI",
        "https://github.com/PolyAI/banking77",
        "PolyAI/banking77",
        "https://huggingface.co/datasets/nguha/legalbench/tree/main",
        "https://huggingface.co/nguha/a-model",
    ]
    assert dataset_ids(origins) == ["PolyAI/banking77", "nguha/legalbench"]


def test_origins_that_the_hub_does_not_know_stay_in_the_text(tmp_path: Path) -> None:
    front, text = card(tmp_path, SourceFile("x.jsonl", "a" * 64, "MIT", "a public set of clauses"))
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert not {"datasets", "model-index"} & front.keys()
    assert "| x.jsonl | MIT | a public set of clauses |" in text


def test_figures_are_given_to_the_hub_for_a_dataset_that_it_knows(tmp_path: Path) -> None:
    front, _ = card(tmp_path, SourceFile("x.jsonl", "a" * 64, "CC BY 4.0", "PolyAI/banking77"))
    assert front["datasets"] == ["PolyAI/banking77"]
    (result,) = front["model-index"][0]["results"]
    assert (result["dataset"]["type"], result["metrics"][0]["value"]) == ("PolyAI/banking77", 0.9)
    hub = pytest.importorskip("huggingface_hub")
    assert hub.ModelCardData(**front).eval_results[0].dataset_type == "PolyAI/banking77"


def test_background_texts_have_the_licence_under_which_the_same_file_is_a_source(tmp_path: Path) -> None:
    known, unknown = (SourceFile(f"{name}.jsonl#text", name * 64, "", "background texts") for name in "ab")
    _, text = card(tmp_path, SourceFile("a.jsonl", "a" * 64, "MIT", "somewhere"), known, unknown)
    assert "| a.jsonl#text | MIT | background texts |" in text
    assert "| b.jsonl#text | not stated | background texts |" in text


def test_a_base_of_an_unknown_repository_is_left_out(tmp_path: Path) -> None:
    listed = msgspec.to_builtins(load_catalogue(tmp_path).entry("all-MiniLM-L6-v2"))
    own = listed | {"name": "ours", "publisher": "us", "licence_url": "https://example.com"}
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"models": [own]}), "utf-8")
    front, _ = card(tmp_path, base="ours")
    assert not {"base_model", "base_model_relation"} & front.keys()


@pytest.mark.parametrize(
    "path", sorted(SHIPPED.glob("*/*/MODEL_CARD.md")), ids=lambda path: "/".join(path.parts[-3:-1])
)
def test_cards_of_the_package_tell_the_licence_of_all_their_data(path: Path) -> None:
    _, _, data = path.read_text("utf-8").partition("## Data")
    assert data and "not stated" not in data.partition("## ")[0]


def test_a_card_of_graded_answers_says_why_it_has_no_threshold(tmp_path: Path) -> None:
    run = Finished(tmp_path).run
    report = read_report(run)
    why = Threshold(abstention="not_applicable", note="The recipe does not say from which score one is right.")
    report = structs.replace(report, metric="token_f1", calibration=why)
    made, entry = version("a", labels=()), load_catalogue(tmp_path).entry("smollm2-135m-instruct")
    text = model_card(made, report, entry, read_adapter(run / "adapter"))
    assert "None for doubtful answers. The recipe does not say from which score one is right." in text
    assert "token f1" in text and "no threshold keeps the errors" not in text
    fitted = structs.replace(report, right_score=0.6, calibration=Threshold(0.7, "fitted"))
    limited = structs.replace(made, card=structs.replace(made.card, threshold=0.7))
    told = model_card(limited, fitted, entry, read_adapter(run / "adapter"))
    assert "at most 5% of the answers given have a score below 0.6, at 95 % confidence" in told
    right = structs.replace(report, metric="exact_match")
    assert "no threshold keeps the errors" in model_card(made, right, entry, read_adapter(run / "adapter"))
