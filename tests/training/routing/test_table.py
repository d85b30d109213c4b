"""Outcome tables with holes and mistakes, and what a cost-quality curve makes of them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concertino.errors import ConfigurationError
from concertino.training.routing.curve import Point, chosen, column_means, curve, hull_height, reference_curves
from concertino.training.routing.fit import fit_outcomes
from concertino.training.routing.table import guessed_cost, read_outcomes, split_table


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return path


def test_both_formats_are_read_and_holes_are_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"text": "one", "scores": {"a-7b": 1.0, "b-70b": 0.5}, "cluster_id": 3},
        {"text": "two", "correct": {"a-7b": True}},
        {"text": "three", "scores": {"a-7b": None, "b-70b": 0}},
        "",
        {"text": "ONE!", "scores": {"a-7b": 0.0, "b-70b": 0.0}},
    )
    table = read_outcomes(path)
    assert table.candidates == ("a-7b", "b-70b")
    assert table.costs.tolist() == [7.0, 70.0]
    assert (table.holes, table.merged, table.differing, len(table.texts)) == (2, 1, 1, 3)
    assert table.quality[0].tolist() == [0.5, 0.25], "repeats count as their mean"


def test_a_line_for_each_text_and_candidate_is_one_table(tmp_path: Path) -> None:
    cells = [("one", "a-7b", 1.0), ("one", "b-70b", 0.5), ("two", "a-7b", 0.0), ("two", "b-70b", 1.0)]
    table = read_outcomes(written(tmp_path, *({"text": text, "scores": {name: how}} for text, name, how in cells)))
    assert table.quality.tolist() == [[1.0, 0.5], [0.0, 1.0]]
    assert (table.merged, table.differing, table.holes) == (2, 0, 0)


def test_opposite_outcomes_are_counted_and_a_text_counts_once_in_the_costs(tmp_path: Path) -> None:
    table = read_outcomes(
        written(
            tmp_path,
            {"text": "one", "scores": {"a": 1, "b": 0}, "costs": {"a": 1, "b": 2}},
            {"text": "one", "scores": {"a": 0, "b": 0}, "costs": {"a": 5, "b": 2}},
            {"text": "two", "scores": {"a": 1, "b": 0}, "costs": {"a": 1, "b": 2}},
        )
    )
    assert table.quality.tolist() == [[0.5, 0.0], [1.0, 0.0]]
    assert (table.merged, table.differing) == (1, 1)
    assert table.costs.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{", "line 1: not JSON"),
        ([1], "line 1: no object"),
        ({"scores": {"a": 1}}, 'no object with a string "text"'),
        ({"text": "x"}, 'neither "scores" nor "correct"'),
        ({"text": "x", "scores": {"a-1b": 2.0}}, "the outcome of a-1b is 2.0"),
        ({"text": "x", "scores": {"a-1b": "good"}}, "must be true, false or between 0 and 1"),
        ({"text": "x", "scores": {"a-1b": 1.0}}, r"outcomes of 1 candidates \(a-1b\)"),
        ({"text": "x", "scores": {"a": 1.0, "b": 1.0}, "costs": {"a": float("inf")}}, '"costs" must give'),
        ({"text": "x", "scores": {"a-1b": 1.0, "who": 1.0}}, "--cost who=NUMBER"),
        ({"text": "x", "scores": {"a-1b": 1.0, "b-2b": None}}, "outcomes of 1 candidates"),
        ({"text": "x", "scores": {"a-1b": 1.0, "b-2b": 1.0}, "costs": {"a-1b": -1}}, '"costs" must give'),
        ({"text": "x", "scores": {"a-1b": 1.0, "b-2b": 1.0}, "costs": {"a-1b": True}}, '"costs" must give'),
        ({"text": "x", "scores": {"": 1.0, "b-2b": 1.0}}, "line 1: a candidate has no name"),
    ],
)
def test_a_bad_table_is_refused_with_the_place(tmp_path: Path, row: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_outcomes(written(tmp_path, row))


def test_costs_come_from_the_caller_then_the_rows_then_the_names(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"text": "x", "scores": {"a-1b": 1.0, "b-2b": 1.0, "c": 0.0}, "costs": {"b-2b": 5, "c": 9}}
    )
    assert read_outcomes(path, {"c": 4.0}).costs.tolist() == [1.0, 5.0, 4.0]
    with pytest.raises(ConfigurationError, match=r"--cost zz: .* has no such candidate; it has a-1b, b-2b, c"):
        read_outcomes(path, {"zz": 4.0})


def test_costs_that_were_given_for_some_candidates_or_for_none_of_them_are_said(tmp_path: Path) -> None:
    rows = {"text": "x", "scores": {"a-1b": 1.0, "b-2b": 1.0}}
    assert read_outcomes(written(tmp_path, rows)).notes == ()
    mixed = read_outcomes(written(tmp_path, rows | {"costs": {"b-2b": 0.003, "bb": 1}}))
    assert mixed.costs.tolist() == [1.0, 0.003]
    assert mixed.notes == (
        "costs of bb are left aside: the table has no outcome of that name",
        "the costs of a-1b are guessed: billions of parameters, by the name. Those of b-2b were given; if they are in "
        "another unit, give all of them",
    )


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, {"text": "x", "scores": {"a-1b": 1.0, "b-2b": 1.0}})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_outcomes(path).texts == ("x",)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[" * 100_000, "line 1: not JSON"),
        ('{"text": "x", "scores": {"a": 0.1, "b": 1, "a": 0.9}}', "line 1: not JSON .'a' stands twice in one object"),
    ],
)
def test_a_line_that_cannot_be_one_row_is_refused(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "table.jsonl").write_text(line)
    with pytest.raises(ConfigurationError, match=sentence):
        read_outcomes(tmp_path / "table.jsonl")


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 56.0), ("llama-3.1-nemotron-51b-instruct", 51.0),
        ("llama3-chatqa-1.5-8b", 8.0), ("gpt-4-1106-preview", None), ("gemma-2-9b-it", 9.0),
    ],
)  # fmt: skip
def test_a_size_in_a_name_is_a_cost(name: str, billions: float | None) -> None:
    assert guessed_cost(name) == billions


def test_the_parts_share_no_text_and_are_the_same_each_time(tmp_path: Path) -> None:
    rows = [{"text": f"question {number}", "scores": {"a-1b": 1.0, "b-2b": 0.0}} for number in range(200)]
    table = read_outcomes(written(tmp_path, *rows))
    parts = split_table(table)
    assert sum(len(part.texts) for part in parts) == 200
    assert not set(parts[0].texts) & set(parts[2].texts)
    assert split_table(table)[2].texts == parts[2].texts
    assert 20 < len(parts[2].texts) < 60


COSTS = np.array([1.0, 10.0])
TRUTH = np.array([[1.0, 1.0], [0.0, 1.0]])


def test_an_oracle_pays_only_where_it_must() -> None:
    assert chosen(TRUTH, COSTS, 0.0).tolist() == [0, 1], "of equals the cheapest"
    assert chosen(TRUTH, COSTS, 1.0).tolist() == [0, 0]
    best = curve("oracle", TRUTH, TRUTH, COSTS)
    assert (best.quality, best.cost, best.oracle_gap) == (1.0, 5.5, 0.0)
    assert best.aiq == pytest.approx(0.5 * 0.75 + 0.5 * 1.0, abs=0.01)
    assert best.apgr == pytest.approx((best.aiq - 0.5) / 0.5)


def test_the_hull_passes_over_points_that_lose() -> None:
    points = [Point(0, 0.0, 0.0), Point(0, 1.0, 0.1), Point(0, 2.0, 1.0), Point(0, 3.0, 0.2)]
    assert hull_height(points, 0.0, 2.0) == pytest.approx(0.5, abs=0.01)


def test_a_hole_that_is_chosen_counts_as_the_candidates_mean() -> None:
    holed = np.array([[1.0, float("nan")], [0.0, 0.8]])
    dear = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert curve("dear", dear, holed, COSTS).quality == pytest.approx(0.8)


def test_without_a_gap_there_is_no_share_of_it() -> None:
    assert math.isnan(curve("x", TRUTH, TRUTH[:, ::-1], COSTS).apgr), "the cheapest is the best"
    assert math.isnan(curve("x", TRUTH, TRUTH, np.array([5.0, 5.0])).apgr)


def test_a_part_that_lacks_a_candidate_takes_its_mean_from_elsewhere() -> None:
    holed = np.array([[1.0, float("nan")], [0.0, float("nan")]])
    assert column_means(holed).tolist() == [0.5, 0.5], "the lowest of the others"
    dear = np.array([[0.0, 1.0], [0.0, 1.0]])
    found = curve("dear", dear, holed, COSTS, np.array([0.1, 0.9]))
    assert found.quality == pytest.approx(0.9)
    assert not math.isnan(found.aiq)


def test_the_references_are_best_single_random_and_oracle() -> None:
    single, chance, oracle = reference_curves(TRUTH, TRUTH, COSTS)
    assert single.quality == 1.0
    assert single.apgr == pytest.approx(0.5, abs=0.01), "mixing the two by the weight of cost is the straight line"
    assert oracle.aiq >= max(single.aiq, chance.aiq)


@pytest.mark.models
@pytest.mark.usefixtures("published")
def test_all_three_methods_are_compared_and_one_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    side = rng.integers(0, 2, 300)
    rows = [
        {"text": f"text {number}", "scores": {"a-1b": float(1 - place), "b-2b": float(place)}}
        for number, place in enumerate(side.tolist())
    ]
    table = read_outcomes(written(tmp_path, *rows))
    vectors = np.eye(384, dtype=np.float32)[side] + 0.01 * rng.normal(size=(300, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    report = fit_outcomes(table, tmp_path / "out", "clusters", lambda _: None, vectors)
    by_name = {item.router: item for item in report.curves}
    assert {"best single (by weight of cost)", "oracle", "knn", "clusters", "matrix-factorisation"} < set(by_name)
    for name in ("knn", "clusters", "matrix-factorisation"):
        assert by_name[name].quality > 0.95, name
    assert (tmp_path / "out" / "fitted.json").exists()


def rows_of(count: int, **candidates: float) -> list[dict[str, object]]:
    return [{"text": f"question {number}", "scores": dict(candidates)} for number in range(count)]


def refused(path: Path, method: str = "knn") -> str:
    """What is said of a table, before anything is embedded."""
    with pytest.raises(ConfigurationError) as caught:
        fit_outcomes(read_outcomes(path, {"a": 1, "b": 2}), path.parent / "out", method, lambda _: None)
    return caught.value.message


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_table_that_leaves_a_part_empty_is_refused(tmp_path: Path, count: int) -> None:
    assert "is empty" in refused(written(tmp_path, *rows_of(count, a=1.0, b=0.0)))


def test_a_candidate_that_training_never_saw_is_refused_with_counts(tmp_path: Path) -> None:
    rows = rows_of(60, a=1.0, b=0.0)
    path = written(tmp_path, *rows)
    train = set(split_table(read_outcomes(path, {"a": 1, "b": 2}))[0].texts)
    for row in rows:
        if row["text"] in train:
            row["scores"] = {"a": 1.0}
    assert f"b has no outcome among the {len(train)} texts to fit on" in refused(written(tmp_path, *rows))


@pytest.mark.parametrize("method", ["lineer", "linear"])
def test_a_method_that_learns_no_outcomes_is_refused_with_those_that_do(tmp_path: Path, method: str) -> None:
    said = refused(written(tmp_path, *rows_of(60, a=1.0, b=0.0)), method)
    assert said == f"{method} cannot be fitted on a table of outcomes; knn, clusters, matrix-factorisation can"


@pytest.mark.models
@pytest.mark.usefixtures("published")
def test_a_part_that_lacks_a_candidate_is_said(tmp_path: Path) -> None:
    rows = rows_of(60, a=0.2, b=0.9)
    path = written(tmp_path, *rows)
    test = set(split_table(read_outcomes(path, {"a": 1, "b": 2}))[2].texts)
    for row in rows:
        if row["text"] in test:
            row["scores"] = {"a": 0.2}
    rows.append({"text": "Question 1.", "scores": {"a": 0.4}})
    table = read_outcomes(written(tmp_path, *rows), {"a": 1, "b": 2})
    heard: list[str] = []
    vectors = np.eye(384, dtype=np.float32)[np.arange(len(table.texts)) % 7]
    report = fit_outcomes(table, tmp_path / "out", "knn", heard.append, vectors)
    assert report.notes[0].startswith("the lines differ on 1 texts")
    assert f"the test part has no outcome of b (outcomes: a {len(test)}, b 0)" in report.notes[1]
    assert set(report.notes) <= set(heard)
    assert all(not math.isnan(item.aiq) for item in report.curves)
    assert next(item for item in report.curves if item.router == "knn").quality == pytest.approx(0.9)
