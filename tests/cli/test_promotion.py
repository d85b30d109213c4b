"""promote, rollback, retire, lineage: the gate's reasons, what is written, and the way back."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from msgspec import structs

from concertino.cli.places import dataset_and_run
from concertino.cli.promote import no_specialist_for
from concertino.cli.promotion import incumbent
from concertino.config import load
from concertino.datasets.folder import Row
from concertino.models.adapters import AdapterManifest
from concertino.recipe_file import load_recipe
from concertino.registry import Registry, Served, read_version, serving
from tests.cli.conftest import ROOT, Command
from tests.registry.runs import LABELS, NAME, Finished
from tests.registry.versions import version


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return Finished(tmp_path / "first")


def current(concertino: Command) -> str | None:
    entry = Registry(concertino.home).state().skills.get(NAME)
    return entry.version if entry else None


def other_weights(tmp_path: Path, name: str, wrong: tuple[int, ...] = ()) -> Finished:
    made = Finished(tmp_path / name, weights=name.encode())
    made.predict(wrong)
    made.evaluate()
    return made


def test_a_run_that_passes_the_gate_serves_with_its_figures(concertino: Command, finished: Finished) -> None:
    done = concertino(*finished.arguments, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["passed"] and said["state"] == "promoted" and said["version"] == current(concertino)
    assert "The next start serves it." in done.stderr
    (legal,) = (card for card in json.loads(concertino("specialists", "--json").stdout) if card["name"] == "legal")
    (skill,) = (skill for skill in legal["skills"] if skill["name"] == "clause-type")
    assert (skill["threshold"], skill["on_low_confidence"], skill["origin"]) == (0.6, "escalate", "promoted")
    assert (skill["backend"], skill["model"], tuple(skill["labels"])) == ("encoder", "all-MiniLM-L6-v2", LABELS)
    assert "Accuracy 0.900 on 80 test rows" in skill["evaluation"]["summary"]
    assert "tuned, on all-MiniLM-L6-v2" in concertino("specialists", "legal").stdout


def test_a_version_holds_everything_that_says_what_it_is(concertino: Command, finished: Finished) -> None:
    assert concertino(*finished.arguments).returncode == 0
    folder = Registry(concertino.home).folder(NAME, current(concertino) or "")
    version = read_version(folder)
    assert version.files.keys() == {
        "adapter/adapter.json",
        "adapter/adapter.safetensors",
        "recipe.yaml",
        "datasheet.md",
        "evaluation.json",
        "predictions.jsonl",
        "MODEL_CARD.md",
    }
    assert version.lineage.dataset == finished.content
    assert [(source.path, source.sha256) for source in version.lineage.sources] == [("clauses.jsonl", "a" * 64)]
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    _, front, text = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "a public set of clauses" in text
    for section in ("Intended use", "Limits", "Data", "Figures", "Abstention", "How to run it"):
        assert f"## {section}\n" in text
    assert str(concertino.folder) not in card + (folder / "version.json").read_text("utf-8")


Break = Callable[[Finished], object]


def change_recipe(run: Finished) -> None:
    run.recipe.write_text(run.recipe.read_text() + "max_tokens: 9\n")


def change_adapter(run: Finished) -> None:
    run.write_adapter(b"others")


def change_base(run: Finished) -> None:
    run.write_adapter(b"weights", base_sha256="0" * 64)
    run.evaluate()


def leak(run: Finished) -> None:
    copied = Row("train-x", run.rows("test", 1)[0].text.upper() + "!", (LABELS[0],))
    run.write_dataset(train=[*run.rows("train", 40), copied])
    run.write_training()
    run.evaluate()


def prompted_on(labels: int | None) -> list[dict[str, object]]:
    """Comparisons of a report in which the generalist met rows of so many labels."""
    gain: dict[str, object] = {"rows": 80, "difference": 0.3, "lower": 0.2, "upper": 0.4, "p": 0.01}
    return [gain | {"name": "generalist", "cpu_ratio": 0.01, "labels": labels}, gain | {"name": "TF-IDF"}]


BROKEN: dict[str, tuple[Break, str]] = {
    "recipe": (change_recipe, "Evaluate again if they differ"),
    "dataset": (lambda run: run.write_training(dataset="0" * 64), "trained on 000000000000"),
    "adapter": (change_adapter, "Evaluate again"),
    "base": (change_base, "trained on all-MiniLM-L6-v2 000000000000"),
    "part": (lambda run: run.evaluate(part="dev"), "of the part dev"),
    "leaks": (leak, "test-0 of test and train-x of train"),
    "gain": (lambda run: run.evaluate(over_generalist=0.03), "+0.030 over generalist"),
    "rows": (lambda run: run.evaluate(paired=19), "19 rows were answered by both it and generalist"),
    "cpu": (
        lambda run: run.evaluate(
            comparisons=[
                {"name": "generalist", "rows": 80, "difference": 0.3, "lower": 0.2, "upper": 0.4, "cpu_ratio": 1.5},
                {"name": "TF-IDF", "rows": 80, "difference": 0.1, "lower": 0.0, "upper": 0.2},
            ]
        ),
        "1.5000 of the generalist's",
    ),
    "baselines": (lambda run: run.evaluate(over_classical=-0.01), "--accept"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_condition_that_is_not_met_refuses(concertino: Command, finished: Finished, name: str) -> None:
    spoil, said = BROKEN[name]
    spoil(finished)
    tried = json.loads(concertino(*finished.arguments, "--dry-run", "--json").stdout)
    assert [check["name"] for check in tried["checks"] if not check["passed"]] == [name]
    done = concertino(*finished.arguments)
    assert done.returncode == 5
    assert "1 of 10 conditions are not met" in done.stderr and said in done.stderr
    assert current(concertino) is None and not (concertino.home / "registry").exists()


@pytest.mark.parametrize(
    ("metric", "labels", "met"), [("macro_f1", 1, False), ("macro_f1", 2, True), ("accuracy", 1, True)]
)
def test_macro_f1_on_rows_of_one_label_shows_no_gain(
    concertino: Command, finished: Finished, metric: str, labels: int, met: bool
) -> None:
    finished.evaluate(metric=metric, comparisons=prompted_on(labels))
    tried = json.loads(concertino(*finished.arguments, "--dry-run", "--json").stdout)
    assert [check["name"] for check in tried["checks"] if not check["passed"]] == ([] if met else ["rows"])


def test_a_full_disk_is_told_as_one_and_changes_nothing(concertino: Command, tmp_path: Path) -> None:
    run = Finished(tmp_path / "first", weights=bytes(9_000))
    full = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", concertino.script, *run.arguments]
    bare = concertino.environment | {"PYTHONDONTWRITEBYTECODE": "1"}  # which the limit would cut off, and not refuse
    done = subprocess.run(full, capture_output=True, env=bare, cwd=concertino.folder, check=False)
    said = done.stderr.decode()
    assert done.returncode == 4 and "No space left" in said and "run the same command again" in said
    assert current(concertino) is None and not list((concertino.home / "registry").glob("*/*"))
    assert concertino(*run.arguments).returncode == 0


@pytest.mark.parametrize("left", [0, 1, 40, 41])
def test_a_run_whose_answers_are_not_all_there_is_not_compared_with_the_generalist_instead(
    concertino: Command, finished: Finished, tmp_path: Path, left: int
) -> None:
    """It answers worse than what serves, and better than the generalist."""
    assert concertino(*finished.arguments).returncode == 0
    first = current(concertino)
    worse = other_weights(tmp_path, "worse", wrong=tuple(range(30)))
    path = worse.run / "evaluation" / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * left // 80])
    done = concertino(*worse.arguments)
    assert done.returncode == 5 and "Run `concertino evaluate` again" in done.stderr
    assert current(concertino) == first
    path.unlink()
    assert "has 0 answers" in concertino(*worse.arguments, "--dry-run").stderr


def test_a_gain_that_chance_explains_is_none_whatever_the_bootstrap_says(
    concertino: Command, finished: Finished
) -> None:
    finished.evaluate(p=0.0625)
    done = concertino(*finished.arguments)
    assert done.returncode == 5 and "+0.340, p 0.0625; the lower bound must be above 0, and p below 0.05" in done.stderr


def test_a_margin_below_zero_asks_for_no_proven_gain(concertino: Command, tmp_path: Path) -> None:
    made = Finished(tmp_path / "near", promotion={"margin": -0.09})
    made.evaluate(over_generalist=-0.01, p=0.8)
    done = concertino(*made.arguments)
    assert done.returncode == 0, done.stdout
    assert "the lower bound must be above -0.09.\n" in done.stdout


def test_a_report_of_before_p_values_is_judged_by_its_interval(concertino: Command, finished: Finished) -> None:
    finished.evaluate(p=None)
    assert concertino(*finished.arguments).returncode == 0


def test_every_reason_is_told_at_once(concertino: Command, finished: Finished) -> None:
    finished.evaluate(over_generalist=0.0, over_classical=-0.2, part="dev")
    done = concertino(*finished.arguments)
    assert done.returncode == 5
    assert all(f"\n  {name}: " in done.stderr for name in ("gain", "baselines", "part"))


def test_without_the_generalist_there_is_no_gain_to_speak_of(concertino: Command, finished: Finished) -> None:
    finished.evaluate(comparisons=[])
    done = concertino(*finished.arguments)
    assert done.returncode == 5 and "gain: not measured against the generalist" in done.stderr


def test_a_reason_that_is_accepted_stands_in_the_card(concertino: Command, finished: Finished) -> None:
    finished.evaluate(over_classical=-0.01)
    assert concertino(*finished.arguments, "--accept", "The set is built from templates.").returncode == 0
    folder = Registry(concertino.home).folder(NAME, current(concertino) or "")
    assert read_version(folder).accepted == "The set is built from templates."
    assert "promoted because: The set is built from templates." in (folder / "MODEL_CARD.md").read_text("utf-8")


def test_a_dry_run_changes_nothing(concertino: Command, finished: Finished) -> None:
    done = concertino(*finished.arguments, "--dry-run")
    assert done.returncode == 0 and "nothing was changed" in done.stderr and "NOT MET" not in done.stdout
    assert not (concertino.home / "registry").exists()


def test_ship_writes_a_version_folder_and_leaves_the_registry(concertino: Command, finished: Finished) -> None:
    target = concertino.folder / "shipped"
    for _ in range(2):
        assert concertino(*finished.arguments, "--ship", str(target)).returncode == 0
    assert read_version(target / NAME).name == NAME
    assert not (concertino.home / "registry").exists()


def test_what_build_made_is_found_where_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own, built = (Path("datasets") / NAME, Path("runs") / NAME), Path("build") / NAME
    assert dataset_and_run(NAME, None, None) == own
    built.mkdir(parents=True)
    assert dataset_and_run(NAME, None, None) == (built / "dataset", built / "run")
    assert dataset_and_run(NAME, Path("mine"), None) == (Path("mine"), own[1])
    own[1].mkdir(parents=True)
    assert dataset_and_run(NAME, None, None) == own


def test_a_skill_that_no_specialist_of_the_team_would_serve_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = no_specialist_for(load(), "bank/tickets")
    assert "no specialist 'bank'" in said and "{name: bank, description: ..., backend: ..., model: ...}" in said
    assert "(general, code, legal, finance, medical) serves at once" in said
    assert not no_specialist_for(load(), "legal/tickets")


def test_a_run_that_was_not_evaluated_is_refused_by_name(concertino: Command, finished: Finished) -> None:
    (finished.run / "evaluation" / "evaluation.json").unlink()
    done = concertino(*finished.arguments)
    assert done.returncode == 5 and "Run `concertino evaluate` first" in done.stderr


def test_a_successor_must_beat_the_version_that_serves(concertino: Command, finished: Finished, tmp_path: Path) -> None:
    finished.predict(wrong=tuple(range(40)))
    finished.evaluate()
    assert concertino(*finished.arguments).returncode == 0
    first = current(concertino)
    same = other_weights(tmp_path, "no-better", wrong=tuple(range(40)))
    assert concertino(*same.arguments).returncode == 5
    better = other_weights(tmp_path, "better", wrong=(1, 2))
    done = concertino(*better.arguments)
    assert done.returncode == 0, done.stderr
    assert f"over version {(first or '')[:12]} on 80 rows" in done.stdout
    assert current(concertino) != first


def test_the_same_weights_calibrated_anew_are_judged_as_they_were(concertino: Command, finished: Finished) -> None:
    assert concertino(*finished.arguments).returncode == 0
    first = current(concertino)
    finished.write_adapter(b"weights", temperature=1.5)
    finished.evaluate()
    done = concertino(*finished.arguments)
    assert done.returncode == 0, done.stdout
    assert "over generalist" in done.stdout and current(concertino) != first
    finished.evaluate(over_generalist=-0.2)
    assert concertino(*finished.arguments).returncode == 5


def test_a_version_that_came_with_the_package_is_what_the_gain_is_over(tmp_path: Path) -> None:
    """Predictions of the shipped version itself, every tenth spoilt, lose against it; no registry is asked."""
    built_in = structs.replace(load(), home=str(tmp_path / "home"))
    served = serving(built_in, "finance/banking-intent")
    assert served is not None and served.origin == "shipped"
    lines = [msgspec.json.decode(line) for line in (served.folder / "predictions.jsonl").read_bytes().splitlines()]
    worse = [line | ({"right": False, "answer": "age_limit"} if n % 10 == 0 else {}) for n, line in enumerate(lines)]
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/predictions.jsonl").write_bytes(b"\n".join(msgspec.json.encode(line) for line in worse))
    recipe = load_recipe(ROOT / "recipes/finance/banking-intent.yaml")
    other = AdapterManifest(
        "encoder", "base", "0" * 64, 8, 16.0, ("age_limit",), files={"adapter.safetensors": "1" * 64}
    )
    found = incumbent(recipe, tmp_path, "specialist", served, other)
    assert found is not None and found.version == served.version.version
    assert (found.rows, found.difference < -0.05, found.p is not None and found.p < 0.001) == (len(lines), True, True)


def test_where_the_serving_version_is_damaged_the_gain_is_over_the_one_that_serves(
    concertino: Command, finished: Finished, tmp_path: Path
) -> None:
    finished.predict(wrong=tuple(range(60)))
    finished.evaluate()
    assert concertino(*finished.arguments).returncode == 0
    first = current(concertino) or ""
    assert concertino(*other_weights(tmp_path, "second", wrong=tuple(range(40))).arguments).returncode == 0
    (Registry(concertino.home).folder(NAME, current(concertino) or "") / "datasheet.md").unlink()
    done = concertino(*other_weights(tmp_path, "third", wrong=(1,)).arguments, "--dry-run")
    assert f"over version {first[:12]} on 80 rows" in done.stdout


def test_a_skill_of_a_specialist_that_the_team_lacks_is_judged_against_its_version_too(
    concertino: Command, tmp_path: Path
) -> None:
    made = Finished(tmp_path / "tax", name="tax/clause-type")
    assert concertino(*made.arguments).returncode == 0, concertino(*made.arguments).stdout
    other = Finished(tmp_path / "other", name="tax/clause-type", weights=b"other")
    assert "over version" in concertino(*other.arguments, "--dry-run").stdout


def test_a_run_that_is_not_there_is_named_with_what_to_do(concertino: Command, finished: Finished) -> None:
    done = concertino("promote", str(finished.recipe), "--run", "nope", "--dataset", str(finished.dataset))
    assert done.returncode == 5
    assert "nope holds no trained adapter" in done.stderr and "`concertino train` wrote" in done.stderr


def test_a_successor_that_loses_a_label_is_refused(concertino: Command, finished: Finished, tmp_path: Path) -> None:
    finished.predict(wrong=tuple(range(0, 80, 2)))  # one label always wrong
    finished.evaluate()
    assert concertino(*finished.arguments).returncode == 0
    uneven = other_weights(tmp_path, "uneven", wrong=tuple(range(1, 50, 2)))  # the other, more than half
    tried = json.loads(concertino(*uneven.arguments, "--dry-run", "--json").stdout)
    failed = {check["name"]: check["said"] for check in tried["checks"] if not check["passed"]}
    assert "liability -0.625" in failed["regression"]


def test_rollback_and_retire_and_the_way_back(concertino: Command, finished: Finished, tmp_path: Path) -> None:
    finished.predict(wrong=tuple(range(40)))
    finished.evaluate()
    assert concertino(*finished.arguments, "--why", "the first").returncode == 0
    first = current(concertino) or ""
    assert concertino(*other_weights(tmp_path, "better").arguments).returncode == 0
    second = current(concertino) or ""
    done = concertino("rollback", NAME, "--why", "worse in practice")
    assert done.stdout == f"{NAME}: {second[:12]} -> {first[:12]}\n" and current(concertino) == first
    assert concertino("rollback", NAME, "--to", second[:8]).returncode == 0
    assert current(concertino) == second
    traced = json.loads(concertino("lineage", NAME, "--json").stdout)
    assert traced["current"] == second and traced["origin"] == "promoted"
    assert [one["what"] for one in traced["history"]] == ["promote", "promote", "rollback", "rollback"]
    assert traced["history"][2]["why"] == "worse in practice"
    assert traced["version"]["lineage"]["sources"][0]["sha256"] == "a" * 64
    shown = concertino("lineage", NAME, "--version", first[:8]).stdout
    assert first in shown and finished.content in shown and "worse in practice" in shown
    assert second[:12] in concertino("lineage").stdout
    done = concertino("retire", NAME, "--delete", "--json")
    assert sorted(json.loads(done.stdout)["removed"]) == sorted([first[:12], second[:12]])
    assert current(concertino) == "" and "retired" in concertino("lineage").stdout


@pytest.mark.parametrize(
    "arguments", [("rollback", NAME), ("lineage", NAME), ("rollback", "nonsense"), ("rollback", NAME, "--to", "abc")]
)
def test_what_the_registry_does_not_know_is_named(concertino: Command, arguments: tuple[str, ...]) -> None:
    done = concertino(*arguments)
    assert done.returncode == 2 and arguments[1] in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["legal/claus-type", "nonsense", "../x"])
def test_only_a_skill_that_there_is_can_be_retired(concertino: Command, name: str) -> None:
    done = concertino("retire", name)
    assert done.returncode == 2 and f"no skill {name!r}" in done.stderr
    assert ("Did you mean 'legal/clause-type'?" in done.stderr) == name.startswith("legal")
    assert not (concertino.home / "registry").exists()
    assert concertino("retire", NAME).returncode == 0  # described by the configuration alone


def test_a_wrong_digit_after_the_twelfth_is_no_version(concertino: Command, finished: Finished) -> None:
    assert concertino(*finished.arguments).returncode == 0
    serves = current(concertino) or ""
    wrong = serves[:30] + ("1" if serves[30] == "0" else "0")
    for arguments in (("lineage", NAME, "--version", wrong), ("rollback", NAME, "--to", wrong)):
        done = concertino(*arguments)
        assert done.returncode == 2 and f"No version begins with '{wrong}'" in done.stderr
    assert serves in concertino("lineage", NAME, "--version", serves.upper()).stdout
    done = concertino("rollback", NAME, "--to", serves)
    assert done.returncode == 2 and "nothing was changed" in done.stderr


def test_doctor_and_specialists_tell_of_a_damaged_version(concertino: Command, finished: Finished) -> None:
    assert concertino(*finished.arguments).returncode == 0
    folder = Registry(concertino.home).folder(NAME, current(concertino) or "")
    (folder / "adapter" / "adapter.safetensors").chmod(0o644)
    (folder / "adapter" / "adapter.safetensors").write_bytes(b"other weights")
    done = concertino("doctor")
    assert done.returncode == 1 and "adapter/adapter.safetensors is not as it was" in done.stdout
    shown = concertino("specialists")
    assert "Not served" in shown.stderr and "clause-type (tuned)" not in shown.stdout


PROSE_ROWS = 60


def write_prose(path: Path, share: float, metric: str) -> None:
    """Predictions that have, on average, `share` of the four words of their rows' answers, one more or less each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(PROSE_ROWS):
        words = max(0, min(4, round(4 * share) + (-1, 0, 1)[number % 3]))
        answer = " ".join(["call", "help", "desk", "now"][-words:]) if words else None
        line = {"id": str(number), "expected": ["call help desk now"], "answer": answer, "right": None, "score": 0.5}
        lines.append(line | ({"right": False} if metric == "exact_match" else {}))
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


@pytest.mark.parametrize("before", ["token_f1", "exact_match"])
def test_prose_is_judged_by_mean_scores_whatever_the_version_that_serves_was_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """With exact match both have none right, and nothing could ever be gained."""
    recipe = Finished(tmp_path / "x").recipe
    raw = yaml.safe_load(recipe.read_text("utf-8"))
    raw |= {"free_text": True, "training": {"engine": "causal"}, "evaluation": {"metric": "token_f1"}}
    recipe.write_text(yaml.safe_dump(raw), "utf-8")
    write_prose(tmp_path / "served/predictions.jsonl", 0.5, before)
    served = Served(NAME, version("a"), "promoted", tmp_path / "served")
    adapter = AdapterManifest("causal", "smollm2-135m-instruct", "0" * 64, 8, 16.0, ())
    adapter = structs.replace(adapter, files={"adapter.gguf": "f" * 64})
    for share, gained in ((0.75, True), (0.5, False)):
        write_prose(tmp_path / "run/evaluation/predictions.jsonl", share, "token_f1")
        found = incumbent(load_recipe(recipe), tmp_path / "run", "specialist", served, adapter)
        assert found is not None and found.rows == PROSE_ROWS and found.p is not None
        assert (found.lower > 0.05 and found.p < 0.001) if gained else (found.difference, found.p) == (0.0, 1.0)
