"""Has tuning cost general knowledge? The same questions to the base with and without the adapter."""

from pathlib import Path

import numpy as np

from concertino.backends.base import Generation
from concertino.evaluation.results import Forgetting
from concertino.evaluation.running import Asked, Engine, Kept, Note, predict_all
from concertino.evaluation.statistics import compare, mcnemar, mean
from concertino.evaluation.tasks.general import INSTRUCTION, LETTERS, GeneralTask, general_rows
from concertino.specialists.skills import label_grammar
from concertino.types import Message, Role, Sampling

OF_ENCODERS = "Not applicable: an encoder does not converse, and its base is left as it is for every other use."


async def measure_forgetting(engine: Engine, adapter: str, folder: Path, note: Note) -> Forgetting:
    """Accuracy and agreement of the base with and without the adapter on the general questions."""
    task, rows = GeneralTask(), general_rows()
    right, answers = [], []
    for used, who in ((None, "general questions, base"), (adapter, "general questions, adapted")):
        asked = [
            Asked(
                Generation(
                    engine.use.model,
                    (Message(Role.SYSTEM, INSTRUCTION), Message(Role.USER, row.text)),
                    Sampling(max_tokens=2, temperature=0.0),
                    adapter=used,
                    grammar=label_grammar(LETTERS),
                ),
                LETTERS,
            )
            for row in rows
        ]
        found = await predict_all(engine, Kept(folder / "general.jsonl"), asked, who, note)
        given = [task.read(row, prediction.text) for row, prediction in zip(rows, found, strict=True)]
        answers.append(given)
        right.append([task.right(row, answer) for row, answer in zip(rows, given, strict=True)])
    base, adapted = right
    columns = [np.column_stack([np.asarray(side, float), np.ones(len(rows))]) for side in (adapted, base)]
    drawn = compare(columns[0], columns[1], [row.id for row in rows], mean)
    same = sum(one == two for one, two in zip(answers[0], answers[1], strict=True))
    fell = drawn.upper < -0.02
    return Forgetting(
        applicable=True,
        note="More than 2 points were lost: mix general rows into the training."
        if fell
        else "No loss of more than 2 "
        "points is shown. Without the adapter the base answers as before; serving applies it to this skill only.",
        rows=len(rows),
        base=sum(base) / len(rows),
        adapted=sum(adapted) / len(rows),
        lower=drawn.lower,
        upper=drawn.upper,
        p=mcnemar(adapted, base).p,
        agreement=same / len(rows),
    )
