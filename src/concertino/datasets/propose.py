"""Facts of a file of examples -> a recipe, each choice with the reason for it.

The numbers are those that did well in the recipes of this project on sets of 400 to 10,000 rows; they are where to
begin, and the evaluation says how far they carry.
"""

import math
from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from concertino.datasets.proposal_yaml import Line, as_yaml
from concertino.datasets.survey import MOST_CHARACTERS, Facts
from concertino.datasets.table import PASSAGE, last
from concertino.default_models import SENTENCE_ENCODER, SMALL_LANGUAGE_MODEL
from concertino.recipe import Data, Engine, Metric, PersonalData

DEFAULT_FEWEST = Data(()).min_label_rows
FEW_ROWS = 100
CALIBRATION_ROWS = 100
"""Below so many no useful threshold can be promised: 59 right answers of 59 are needed for 5 % at 95 %."""
_TEST_ROWS = 100
_SLACK = 1.25
"""Parts are drawn by hash, and rows are still lost to near-duplicates."""
_LARGEST_SHARE = 0.25
_SKEW = 3.0
_SHOWN = 5
_FEWEST_OF_A_LABEL = 5
"""Rows of a label below which the part to train on may well have none, which ends a build."""
_LONG_ANSWER = 64
"""Tokens of an answer beyond which hardly one is written word for word as it was."""
_MOSTLY = 0.5
"""Share of answers in sentences from which a set is one of prose."""
_WITHOUT_BLANKS = ("zh", "ja", "th", "lo", "km", "my", "bo", "dz")
"""Languages that do not part words by blanks."""
_FEWEST_TESTED = 10
"""Test rows of a label below which its figure tells little."""
_FEW_OF_A_LABEL = 10
"""Rows of a label below which some part is likely to have none."""


class Proposal(Struct, frozen=True):
    """A recipe in YAML with its reasons as comments, and what a person should know before building it."""

    name: str
    lines: tuple[Line, ...]
    warnings: tuple[str, ...]
    yaml: str


def propose(name: str, path: str, text: str, label: str, facts: Facts) -> Proposal:
    """The recipe for rows of the file `path`, by their fields `text` and `label`."""
    lines = (*_about(name, text, label, facts), *_data(path, text, label, facts), *_training(facts), *_judged(facts))
    head = f"Proposed by `concertino new` for {path}: {facts.rows} rows. Every key is explained in docs/factory.md."
    return Proposal(name, lines, tuple(_warnings(facts)), as_yaml(head, lines))


def _about(name: str, text: str, label: str, facts: Facts) -> list[Line]:
    lines = [Line("name", name, "")]
    field, text, label = label, last(text), last(label)
    if text == label:  # of two messages of a conversation
        text, label = "message", "answer"
    if facts.closed:
        lines += [
            Line(
                "description",
                f"Which {label} fits a {text}, among {len(_kept(facts))}.",
                "Who may ask what: say it in your own words.",
            ),
            Line(
                "instruction",
                f"You read a {text}. Answer with the {label} that fits it best and nothing else. Labels: {{labels}}.",
                "Prompted models get this: say what the labels mean where it is not plain, so that the race is fair.",
            ),
            Line("max_tokens", 32, "Room for a label."),
        ]
        return lines
    room = min(512, max(32, 32 * math.ceil(facts.answer_tokens / 32)))
    return [
        *lines,
        Line("description", f"Writes the {label} for a {text}.", "Who may ask what: say it in your own words."),
        Line(
            "instruction",
            f"You are given a {text}. Answer with its {label} and nothing else.",
            "Trained and prompted models get this.",
        ),
        Line(
            "free_text",
            True,
            f"{facts.values} different values of {field!r} in {facts.rows} rows are no closed set of labels: answers "
            "are written, not chosen.",
        ),
        Line("max_tokens", room, f"Room for 99 % of the answers (about {facts.answer_tokens} tokens)."),
    ]


def _data(path: str, text: str, label: str, facts: Facts) -> list[Line]:
    source: dict[str, object] = {"path": path, "text": text, "label": label, "licence": "", "origin": ""}
    why = "Fill in licence and origin: the model card names them."
    if facts.rename:
        source["rename"] = facts.rename
        why += " Labels that differ only in case or blanks are taken for one: rename has how they are written."
    shares = _split(facts)
    rows = ", ".join(f"about {round(share * facts.usable)} {part}" for part, share in shares.items())
    rest = round((1 - sum(shares.values())) * facts.usable)
    decides = (
        "The calibration part decides when to abstain; 100 rows are wanted."
        if _tells_right(facts)
        else "The calibration part decides which texts the skill is for; 100 rows are wanted once right_score is set."
    )
    lines = [
        Line("data.sources", [source], why),
        Line(
            "data.split",
            shares,
            f"{rest} rows to train on, {rows}. {decides}",
        ),
    ]
    if facts.documents:
        why = f"{facts.documents} documents are cut into passages that are read whole; those of one stay in one part."
        lines.append(Line("data.max_characters", PASSAGE, why))
    if _fewest(facts) > DEFAULT_FEWEST:
        left_out = [label for label in facts.different if DEFAULT_FEWEST <= facts.different[label] < _fewest(facts)]
        why = f"{_named(left_out)} left out: with fewer rows the part to train on may have none. Find more, or rename."
        lines.append(Line("data.min_label_rows", _fewest(facts), why))
    language, share = next(iter(facts.languages.items()), ("", 0.0))
    if share >= 0.95:
        lines.append(
            Line("data.language", language, f"{share:.0%} of the texts are; rows clearly in another are dropped.")
        )
    if facts.personal and not facts.closed:
        why = "Personal data was found, and a model that writes could repeat it: each finding becomes its kind."
        lines.append(Line("data.personal_data", PersonalData.SCRUB.value, why))
    return lines


def _fewest(facts: Facts) -> int:
    """What `data.min_label_rows` is to be: higher where labels are that the training part may lack."""
    rare = any(DEFAULT_FEWEST <= rows < _FEWEST_OF_A_LABEL for rows in facts.different.values())
    enough = sum(rows >= _FEWEST_OF_A_LABEL for rows in facts.different.values()) >= 2
    return _FEWEST_OF_A_LABEL if rare and enough else DEFAULT_FEWEST


def _kept(facts: Facts) -> list[str]:
    """Labels that curation will keep, the most frequent first."""
    return [label for label, rows in facts.different.items() if rows >= _fewest(facts)]


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return f"{', '.join(labels[:_SHOWN])}{more} {'is' if len(labels) == 1 else 'are'}"


def _split(facts: Facts) -> dict[str, float]:
    usable = max(1, facts.usable)

    def share(rows: int, least: float) -> float:
        return round(min(_LARGEST_SHARE, max(least, math.ceil(100 * _SLACK * rows / usable) / 100)), 2)

    return {
        "dev": 0.1 if usable < 2_000 else 0.06,
        "calibration": share(CALIBRATION_ROWS, 0.08) if _tells_right(facts) else 0.08,
        "test": share(_TEST_ROWS, 0.1),
    }


def _training(facts: Facts) -> list[Line]:
    train = max(1, round((1 - sum(_split(facts).values())) * facts.usable))
    return _encoder(facts, train) if facts.closed else _causal(facts, train)


def _encoder(facts: Facts, train: int) -> list[Line]:
    batch = 8 if train < 200 else 32 if train > 5_000 else 16
    epochs = min(12, max(4, round(600 / max(1, train / batch))))
    members = 3 if train <= 5_000 else 2
    many = len(_kept(facts)) > 20
    long = min(256, max(32, 32 * math.ceil(facts.tokens[2] / 32)))
    cut = " Longer ones lose their middle; more than 256 are slow." if facts.tokens[2] > long else ""
    lines = [
        Line(
            "training.engine",
            Engine.ENCODER.value,
            f"{len(_kept(facts))} labels are a closed set: an adapter on a sentence encoder answers in milliseconds.",
        ),
        Line("training.base", SENTENCE_ENCODER, "The encoder of the catalogue; 23 million parameters, English."),
        Line("training.members", members, "Adapters whose answers are averaged: steadier on few rows, slower."),
        Line("training.rank", 16 if train <= 1_000 else 32, f"For {train} training rows; 32 from 1,000 on."),
        Line("training.epochs", epochs, f"At most: about {round(epochs * train / batch)} steps for each member."),
        Line(
            "training.learning_rate",
            5e-4 if train >= 1_000 and not many else 1e-3,
            "Higher for many labels or few rows." if train < 1_000 or many else "Gentle: few labels, many rows.",
        ),
        Line("training.batch", batch, "Small sets need more steps than large batches give."),
        Line(
            "training.patience",
            3,
            "Stops after three epochs without a gain on dev; the best weights are kept.",
        ),
        Line("training.dropout", 0.1, "Against learning by heart."),
        Line("training.max_tokens", long, f"99 % of the texts have at most about {facts.tokens[2]} tokens.{cut}"),
    ]
    if many:
        lines.append(Line("training.label_smoothing", 0.1, "Many labels are never quite clean."))
    if _skewed(facts):
        lines.append(Line("training.class_balance", 0.5, "Labels are uneven: the rare ones weigh more."))
    return lines


def _causal(facts: Facts, train: int) -> list[Line]:
    room = min(1024, max(64, 64 * math.ceil((facts.tokens[2] + facts.answer_tokens + 40) / 64)))
    return [
        Line("training.engine", Engine.CAUSAL.value, "Answers are written, which an encoder cannot do."),
        Line("training.base", SMALL_LANGUAGE_MODEL, "The smallest language model here: trains on a CPU."),
        Line("training.rank", 16 if train <= 1_000 else 32, f"For {train} training rows; 32 from 1,000 on."),
        Line("training.epochs", 3 if train < 5_000 else 2, "The weights that do best on dev are kept."),
        Line("training.learning_rate", 1e-3, "What suits models of this size; a tenth of it from 1 billion on."),
        Line("training.batch", 8 if train < 500 else 16, "Rows in a step."),
        Line("training.max_tokens", room, "Instruction, text and answer together, for 99 % of the rows."),
    ]


def _skewed(facts: Facts) -> bool:
    counts = [facts.labels[label] for label in _kept(facts)]
    return bool(counts) and counts[0] > _SKEW * (median(counts) if len(counts) > 2 else counts[-1])


def _judged(facts: Facts) -> list[Line]:
    if not facts.closed:
        return [_judged_text(facts)]
    if _skewed(facts):
        most, rows = next(iter(facts.labels.items()))
        why = f"{rows} of {facts.rows} rows are {most}: always saying so would look accurate, but not by label."
        return [Line("evaluation.metric", Metric.MACRO_F1.value, why)]
    return [Line("evaluation.metric", Metric.ACCURACY.value, "Labels are even enough for the share of right answers.")]


def _tells_right(facts: Facts) -> bool:
    """Whether the metric that is proposed says of an answer that it is right."""
    return facts.closed or (facts.answer_tokens <= _LONG_ANSWER and facts.prose < _MOSTLY)


def _judged_text(facts: Facts) -> Line:
    """Word for word where answers are short; else a graded metric."""
    key, language = "evaluation.metric", next(iter(facts.languages), "")
    if _tells_right(facts):
        return Line(key, Metric.EXACT.value, "An answer counts if it is the row's, blanks aside.")
    about = (
        f"{facts.prose:.0%} of the answers are sentences, which hardly any model writes word for word: "
        if facts.prose >= _MOSTLY
        else f"Answers have up to about {facts.answer_tokens} tokens; hardly one is written word for word: "
    )
    after = (
        " The figure is a mean of scores. No answer counts as right or wrong, so the skill has no threshold on its "
        "confidence; evaluation.right_score sets from which score one is right."
    )
    if language in _WITHOUT_BLANKS or facts.prose < _MOSTLY:
        why = "each is scored by the runs of characters that it shares with the row's."
        if facts.prose < _MOSTLY and language not in _WITHOUT_BLANKS:
            why += " For programs, shell commands or values there are better ones in docs/factory.md, under Metric."
        return Line(key, Metric.CHRF.value, about + why + after)
    if facts.answer_median > _LONG_ANSWER:
        return Line(
            key, Metric.ROUGE_L.value, f"{about}each is scored by the words that it has in the row's order.{after}"
        )
    return Line(key, Metric.TOKEN_F1.value, f"{about}each is scored by the words that it shares with the row's.{after}")


def _warnings(facts: Facts) -> list[str]:
    found = []
    if facts.header:
        found.append(
            "The first line has no names of fields but a row, as it seems, which is not read as one. Put a line with "
            "names before it, as text,label."
        )
    if facts.usable < FEW_ROWS:
        found.append(
            f"{facts.usable} different rows are few: with less than {FEW_ROWS} nothing can be shown, and the gate will "
            "hardly let it serve. Collect more; 300 to 500 rows often do."
        )
    elif _tells_right(facts) and _split(facts)["calibration"] * facts.usable < CALIBRATION_ROWS:
        found.append(
            f"With {facts.usable} different rows the calibration part stays below {CALIBRATION_ROWS}: expect no "
            "threshold, or one that abstains often."
        )
    once = [label for label, rows in facts.different.items() if rows <= 1]
    if once:
        more = f" and {len(once) - _SHOWN} more" if len(once) > _SHOWN else ""
        found.append(
            f"Seen once, copies and contradictions aside, and dropped by curation: {', '.join(once[:_SHOWN])}{more}. "
            "Find more rows of them, or merge them into others."
        )
    few = [f"{label} ({rows})" for label, rows in facts.different.items() if 1 < rows < _FEW_OF_A_LABEL]
    if few:
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        found.append(
            f"Fewer than {_FEW_OF_A_LABEL} rows: {', '.join(few[:_SHOWN])}{more}. Some part may have none, and "
            "`concertino build` stops where that is the part to train on. Find more, or merge them into others."
        )
    share = _split(facts)["test"]
    tested = {label: round(share * facts.different[label]) for label in _kept(facts)}
    rare = [f"{label} (about {rows})" for label, rows in tested.items() if rows < _FEWEST_TESTED]
    if _skewed(facts) and rare and not few:
        more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
        found.append(
            f"Too few rows to test on: {', '.join(rare[:_SHOWN])}{more}. They hardly show how well it is told. "
            "Find more, or raise data.split.test; and evaluation.generalist_rows, for prompted models to meet some."
        )
    if facts.never_alone:
        shown, verb = _named(facts.never_alone).rsplit(" ", 1)
        found.append(
            f"{facts.several} rows have several labels, and any of them counts as the right answer. {shown} {verb} "
            "only there beside others: where that says something else than the others do, leave it out of the file."
        )
    if facts.duplicates > 0.5:
        found.append(f"{facts.duplicates:.0%} of the rows repeat a text: there is less here than it looks.")
    if facts.contradictory > 0.02:
        found.append(
            f"{facts.contradictory:.0%} of the rows have a text that stands with other labels elsewhere. Curation "
            "drops them all; datasheet.md shows examples. Settle who is right."
        )
    if facts.too_long:
        found.append(
            f"{facts.too_long} of {facts.rows} texts have more than {MOST_CHARACTERS:,} characters, and curation drops "
            "them. Set data.max_characters above the longest, or cut them by a template (docs/curation.md)."
        )
    if facts.unusable:
        found.append(f"{facts.unusable} of {facts.rows} rows lack the text or the label.")
    if facts.personal:
        found.append(f"Personal data was found in {facts.personal:.0%} of the texts. May they be used?")
    language = next(iter(facts.languages), "en")
    if language != "en":
        found.append(f"Most texts are in {language!r}. The models of the catalogue were trained on English first.")
    return found
