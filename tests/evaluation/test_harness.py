"""Task files of lm-evaluation-harness are followed to the letter, or refused by name."""

from pathlib import Path

import pytest

from concertino.errors import EvaluationRefused
from concertino.evaluation import specialist
from concertino.evaluation.harness import questions, read_task, run_task
from tests.evaluation.runs import RECIPE, echo_store, write_dataset, write_run

CHOICE = """
task: animals
dataset_path: json
dataset_kwargs: {data_files: {test: animals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Which animal: {{text | upper}}"
doc_to_target: label
doc_to_choice: ["bird", "cat", "dog"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
GENERATE = """
task: echoes
dataset_path: animals.jsonl
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{text}}."
generation_kwargs: {until: ["stop"], do_sample: false}
metric_list: [{metric: exact_match, ignore_case: true, ignore_punctuation: true}]
"""
ROWS = b"""{"text": "a dog", "label": 2, "options": ["dog", "fish"]}
{"text": "a Cat sleeps", "label": 1, "options": ["cat", "fish"]}
{"text": "a bird", "label": 0, "options": ["fish", "bird"]}
{"text": "a bird \xe2\x80\xa8 or none", "label": 1, "options": ["fish", "bird"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("jinja2")
    (tmp_path / "animals.jsonl").write_bytes(ROWS)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "task.yaml"
    path.write_text(text, "utf-8")
    return path


def asked(folder: Path, text: str) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    path = written(folder, text)
    return [(one.row.text, one.choices, one.row.labels) for one in questions(read_task(path), path)]


def test_templates_fields_and_indices_are_filled_in(folder: Path) -> None:
    assert asked(folder, CHOICE)[:2] == [
        ("Which animal: A DOG", ("bird", "cat", "dog"), ("dog",)),
        ("Which animal: A CAT SLEEPS", ("bird", "cat", "dog"), ("cat",)),
    ]


def test_choices_may_come_from_each_document(folder: Path) -> None:
    task = CHOICE.replace('["bird", "cat", "dog"]', "options").replace(
        "doc_to_target: label", "doc_to_target: \"{{'bird' if 'bird' in options else options[0]}}\""
    )
    assert [(choices, right) for _, choices, right in asked(folder, task)][:3] == [
        (("dog", "fish"), ("dog",)),
        (("cat", "fish"), ("cat",)),
        (("fish", "bird"), ("bird",)),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("process_docs: x", "process_docs"),
        ("fewshot_config: {sampler: first_n}", "fewshot_config"),
        ("filter_list: []", "filter_list"),
        ("num_fewshot: 3", "num_fewshot"),
        ("repeats: 2", "repeats"),
        ("process_results: !function utils.process", "not run"),
        ("generation_kwargs: {temperature: 0.7}", "generation_kwargs"),
    ],
)
def test_a_key_that_would_change_the_meaning_is_refused_by_name(folder: Path, change: str, message: str) -> None:
    with pytest.raises(EvaluationRefused, match=message):
        read_task(written(folder, CHOICE + change))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("output_type: multiple_choice", "output_type: loglikelihood_rolling", "output_type"),
        ("metric: acc", "metric: acc_norm", "acc_norm"),
        ("dataset_path: json", "dataset_path: super_glue", "Nothing is downloaded"),
        ("text | upper", "missing", "document 1"),
        ("text | upper", "text.__class__.__mro__[1].__subclasses__()", "document 1"),
    ],
)
def test_what_cannot_be_followed_is_said(folder: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(EvaluationRefused, match=message):
        asked(folder, CHOICE.replace(old, new))


def test_a_specialist_is_measured_on_a_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specialist, "ENGINES", {"causal": "echo"})
    write_run(folder / "run", write_dataset(folder / "data"))
    store = echo_store(folder / "home")
    report = run_task(written(folder, CHOICE), RECIPE, folder / "run", store, 0, print)
    assert (report.rows, report.metrics["acc"].value, report.format_failures) == (4, 0.75, 0)
    report = run_task(written(folder, GENERATE), RECIPE, folder / "run", store, 0, print)
    assert report.metrics["exact_match"].value == 1.0
    assert (folder / "run/evaluation/tasks/echoes.json").is_file()
