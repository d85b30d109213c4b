"""A program is judged by its row's tests, and a row by its own answer."""

import json
import os
from pathlib import Path

import pytest

from concertino.datasets.folder import Row
from concertino.errors import EvaluationRefused
from concertino.evaluation.setup import task_for
from concertino.evaluation.tasks import program
from concertino.evaluation.tasks.program import ProgramTask, barriers_line, left_out_line, usable_rows
from concertino.evaluation.tasks.text import TextTask
from concertino.programs.outcome import Barrier, Outcome
from concertino.programs.sandbox import Verdict, run_tests
from concertino.recipe import Metric
from concertino.recipe_file import load_recipe

RECIPE = Path(__file__).parents[3] / "recipes" / "code" / "python.yaml"
TESTS = "from program import f\nassert f(2) == 4\n"
RIGHT, WRONG = "def f(x):\n    return 2 * x", "def f(x):\n    return x"


def rows(*answers: str) -> list[Row]:
    return [Row(str(n), f"Double it, {n}.", answer=answer, tests=TESTS) for n, answer in enumerate(answers)]


def test_the_recipe_s_metric_chooses_the_task() -> None:
    assert isinstance(task_for(load_recipe(RECIPE), ()), ProgramTask)


def test_right_is_what_passes_and_no_program_is_a_failure_of_form() -> None:
    task, (row,) = ProgramTask("code/python"), rows(RIGHT)
    assert task.right(row, task.read(row, f"Here:\n```python\n{RIGHT}\n```"))
    assert not task.right(row, task.read(row, WRONG))
    assert task.read(row, "I cannot.") is None
    assert task.verdict(row, None).outcome is Outcome.NO_PROGRAM


def test_a_program_is_run_once_however_often_it_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def counted(code: str, tests: str) -> Verdict:
        ran.append(code)
        return Verdict(Outcome.FAILED)

    monkeypatch.setattr(program, "run_tests", counted)
    task, (row,) = ProgramTask("code/python"), rows(RIGHT)
    assert [task.right(row, answer) for answer in (WRONG, WRONG, RIGHT)] == [False, False, False]
    assert ran == [WRONG, RIGHT]


def test_rows_whose_own_answer_fails_are_left_out_and_counted() -> None:
    said: list[str] = []
    given = rows(RIGHT, WRONG, RIGHT, "def f(:", RIGHT)
    kept, left_out = usable_rows(ProgramTask("p"), given, 2, said.append)
    assert [row.id for row in kept] == ["0", "2"]  # the rest is not run
    assert [(item.row.id, item.verdict.outcome) for item in left_out] == [("1", Outcome.FAILED)]
    kept, left_out = usable_rows(ProgramTask("p"), given, 0, said.append)
    assert len(kept) == 3
    assert said[-1] == left_out_line(left_out, 3)
    assert said[-1].startswith("2 of 5 rows were left out")
    assert "1 failed; 3 syntax" in said[-1]


def test_a_row_without_an_answer_of_its_own_is_taken_at_its_word() -> None:
    assert usable_rows(ProgramTask("p"), rows(""), 0, print)[0] == rows("")


def test_rows_without_tests_are_refused_with_what_to_do() -> None:
    mixed = [*rows(RIGHT), Row("x", "t", answer=RIGHT, source="a.jsonl:7")]
    with pytest.raises(EvaluationRefused, match=r"1 of 2 rows have no tests \(a.jsonl:7\).*curate again"):
        usable_rows(ProgramTask("p"), mixed, 0, print)


def test_where_no_row_is_left_nothing_is_measured() -> None:
    with pytest.raises(EvaluationRefused, match="No row is left"):
        usable_rows(ProgramTask("p"), rows(WRONG), 0, print)


def test_rows_of_other_tasks_are_not_looked_at() -> None:
    plain = [Row(str(n), "t", answer="x") for n in range(3)]
    assert usable_rows(TextTask("p", Metric.EXACT), plain, 2, print) == (plain[:2], [])


def test_a_missing_barrier_is_told_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    task, (row,) = ProgramTask("p"), rows(RIGHT)
    assert "without network" in barriers_line(task)
    monkeypatch.setattr(program, "run_tests", lambda code, tests: Verdict(Outcome.PASSED, "", (Barrier.CALLS,)))
    task.right(row, RIGHT)
    assert "no barrier of the kind calls" in barriers_line(task)


@pytest.mark.skipif("CONCERTINO_DATA_DIR" not in os.environ, reason="needs the development data")
def test_the_canonical_solutions_pass() -> None:
    """Every 40th of MBPP's, but for those that fail in plain Python too (bench/programs.py)."""
    path = Path(os.environ["CONCERTINO_DATA_DIR"]) / "code" / "mbpp.jsonl"
    problems = [json.loads(line) for line in path.read_text("utf-8").splitlines()][::40]
    failed = set()
    for problem in problems:
        name, code = problem["entry_point"], problem["prompt"] + problem["canonical_solution"]
        verdict = run_tests(code, f"import program\n{problem['test']}\ncheck(program.{name})\n")
        if verdict.outcome is not Outcome.PASSED:
            failed.add(problem["task_id"])
    assert failed == {"MBPP/601"}  # its tests name a class that they do not have
