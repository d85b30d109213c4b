"""A skill that answers with a Python program, which is right when it passes the row's tests."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from concertino.datasets.folder import Row
from concertino.errors import EvaluationRefused
from concertino.evaluation.tasks.base import Task
from concertino.programs.outcome import Barrier, Outcome
from concertino.programs.reading import read_program
from concertino.programs.sandbox import Verdict, run_tests

_SHOWN = 3


class ProgramTask:
    """Right is a program whose tests all hold. Each program is run once, however often it is asked about."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    def choices(self, row: Row) -> tuple[str, ...]:
        return ()

    def read(self, row: Row, text: str) -> str | None:
        return read_program(text)

    def right(self, row: Row, answer: str | None) -> bool:
        return self.verdict(row, answer).outcome is Outcome.PASSED

    def verdict(self, row: Row, answer: str | None) -> Verdict:
        """How the row's tests of a program end."""
        if answer is None:
            return Verdict(Outcome.NO_PROGRAM)
        key = (row.tests, answer)
        if key not in self._verdicts:
            self._verdicts[key] = run_tests(answer, row.tests)
        return self._verdicts[key]

    @property
    def missing(self) -> tuple[Barrier, ...]:
        """Barriers that the kernel did not give to what was run so far."""
        return tuple(sorted({barrier for verdict in self._verdicts.values() for barrier in verdict.missing}))


class LeftOut(Struct, frozen=True):
    """A row whose own answer does not pass its tests: it says nothing of a model."""

    row: Row
    verdict: Verdict


def usable_rows(
    task: Task, rows: Sequence[Row], most: int, note: Callable[[str], None]
) -> tuple[list[Row], list[LeftOut]]:
    """The first `most` rows (0: all) that can judge an answer, and those passed over on the way.

    A program's row can where its own answer, if it has one, passes its tests. Raises EvaluationRefused for rows
    without tests, and where no row is left.
    """
    if not isinstance(task, ProgramTask):
        return list(rows[:most] if most else rows), []
    without = [row for row in rows if not row.tests]
    if without:
        shown = ", ".join(row.source or row.id for row in without[:_SHOWN])
        raise EvaluationRefused(
            f"{len(without)} of {len(rows)} rows have no tests ({shown}), so nothing could be right or wrong. Name "
            "the field that has them as `data.sources[].tests` in the recipe, and curate again.",
            param="data.sources.tests",
        )
    kept: list[Row] = []
    left_out: list[LeftOut] = []
    for row in rows:
        if most and len(kept) == most:
            break
        verdict = task.verdict(row, row.answer) if row.answer else Verdict(Outcome.PASSED)
        if verdict.outcome is Outcome.PASSED:
            kept.append(row)
        else:
            left_out.append(LeftOut(row, verdict))
    if left_out:
        note(left_out_line(left_out, len(kept)))
    if rows and not kept:
        raise EvaluationRefused(f"No row is left to measure on. {left_out_line(left_out, 0)} Correct the tests.")
    return kept, left_out


def left_out_line(left_out: Sequence[LeftOut], kept: int) -> str:
    """How many rows were left out of how many, and the first of them."""
    shown = "; ".join(f"{item.row.source or item.row.id} {item.verdict.outcome}" for item in left_out[:_SHOWN])
    more = "" if len(left_out) <= _SHOWN else "; ..."
    return (
        f"{len(left_out)} of {len(left_out) + kept} rows were left out, since their own answers do not pass their "
        f"tests ({shown}{more})."
    )


def barriers_line(task: ProgramTask) -> str:
    """What programs were kept from, for a report."""
    if not task.missing:
        return "Programs were run without network, files or other processes."
    return (
        f"This kernel gave no barrier of the kind {' and '.join(task.missing)}: programs of a model could reach what "
        "this user can. Use a kernel with Landlock and seccomp, or a machine that holds nothing else."
    )
