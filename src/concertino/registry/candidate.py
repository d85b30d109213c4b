"""A finished run -> a version that could be promoted: its card, its figures, its files."""

from pathlib import Path

import msgspec
from msgspec import Struct

from concertino.config import Evaluation, SkillCard
from concertino.errors import PromotionRefused
from concertino.models.adapters import MANIFEST as ADAPTER_MANIFEST
from concertino.models.catalogue import Entry
from concertino.models.inventory import EMBEDDED
from concertino.registry.gate import GENERALIST, Evidence, Report, Runner
from concertino.registry.model_card import model_card
from concertino.registry.version import ADAPTER, Figures, Lineage, SourceFile, Version

REPORT = Path("evaluation") / "evaluation.json"
PREDICTIONS = Path("evaluation") / "predictions.jsonl"
_BACKEND_TYPES = {"encoder": "encoder", "causal": EMBEDDED}


class Prediction(Struct, frozen=True, omit_defaults=True):
    """One test row and what a runner answered: a line of predictions.jsonl."""

    id: str
    expected: tuple[str, ...]
    answer: str | None
    right: bool | None
    """None where answers are graded, and nobody said from which score one is right."""
    group: str = ""
    runner: str = ""


class Candidate(Struct, frozen=True):
    """A version that has no name yet, and its files by their paths in its folder."""

    version: Version
    files: dict[str, Path | bytes]


def read_report(run: Path) -> Report:
    """What `concertino evaluate` found. Raises PromotionRefused where the run was not evaluated."""
    try:
        return msgspec.json.decode((run / REPORT).read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise PromotionRefused(
            f"{run} has no evaluation that can be read: {error}. Run `concertino evaluate` first."
        ) from error


def read_predictions(path: Path, runner: str) -> dict[str, Prediction]:
    """A runner's predictions by row; empty where there are none. Lines without a runner are the specialist's."""
    decoder = msgspec.json.Decoder(Prediction)
    try:
        with path.open("rb") as file:
            found = [decoder.decode(line) for line in file if line.strip()]
    except (OSError, msgspec.MsgspecError):
        return {}
    return {item.id: item for item in found if item.runner in ("", runner)}


def check_predictions(run: Path, specialist: Runner) -> None:
    """Raises PromotionRefused where the answers of the specialist are not all there: without them a run would not be
    compared with what serves, row by row, but with the generalist alone.
    """
    path = run / PREDICTIONS
    found = len(read_predictions(path, specialist.name))
    if found != specialist.rows:
        raise PromotionRefused(
            f"{path} has {found} answers that can be read of the {specialist.rows} rows that were evaluated. Run "
            "`concertino evaluate` again, which asks nothing twice."
        )


def make_candidate(
    evidence: Evidence, run: Path, recipe_file: Path, datasheet: Path, sources: tuple[SourceFile, ...], base: Entry
) -> Candidate:
    """The version that the evidence is about."""
    recipe, adapter, report = evidence.recipe, evidence.adapter, evidence.report
    specialist = report.specialist
    assert specialist is not None
    figures = _figures(evidence)
    card = SkillCard(
        name=recipe.skill,
        description=recipe.description.strip(),
        instruction=recipe.instruction.strip(),
        labels=() if recipe.free_text else adapter.labels,
        threshold=report.calibration.threshold,
        scope_threshold=report.scope_threshold,
        text_temperature=report.text_temperature,
        max_tokens=recipe.max_tokens,
        backend=_BACKEND_TYPES[adapter.engine],
        model=adapter.base,
        adapter=ADAPTER,
        on_low_confidence=recipe.on_low_confidence,
        evaluation=Evaluation(summary(figures), report.command, report.created[:10]),
        template=recipe.template,
        calculate=recipe.calculate,
        beams=recipe.beams,
    )
    version = Version(
        name=recipe.name,
        card=card,
        base=adapter.base,
        base_sha256=adapter.base_sha256,
        figures=figures,
        lineage=Lineage(recipe.digest, evidence.dataset, run.resolve().name, sources),
        files={},
        accepted=evidence.accepted,
        licence=base.licence,
        datasets=tuple(dict.fromkeys(source.origin for source in sources if source.origin)),
    )
    files: dict[str, Path | bytes] = {
        f"{ADAPTER}/{name}": run / ADAPTER / name for name in (*adapter.files, ADAPTER_MANIFEST)
    }
    files["recipe.yaml"] = recipe_file
    files["evaluation.json"] = run / REPORT
    if datasheet.is_file():
        files["datasheet.md"] = datasheet
    predictions = read_predictions(run / PREDICTIONS, specialist.name)
    if predictions:
        bare = (msgspec.structs.replace(item, runner="") for item in predictions.values())
        files["predictions.jsonl"] = b"".join(msgspec.json.encode(item) + b"\n" for item in bare)
    files["MODEL_CARD.md"] = model_card(version, report, base, adapter).encode()
    return Candidate(version, files)


def _figures(evidence: Evidence) -> Figures:
    report, incumbent = evidence.report, evidence.incumbent
    specialist, prompted = report.specialist, report.against(GENERALIST)
    assert specialist is not None
    weakest = min(prompted, key=lambda found: found.lower) if prompted else None
    over = incumbent or weakest
    name = f"version {incumbent.version[:12]}" if incumbent else weakest.name if weakest else ""
    return Figures(
        metric=report.metric,
        value=specialist.value,
        lower=specialist.lower,
        upper=specialist.upper,
        rows=specialist.rows,
        against=name,
        gain=over.difference if over else None,
        gain_lower=over.lower if over else None,
        cpu_ratio=weakest.cpu_ratio if weakest else None,
        coverage=report.on_test.coverage if report.on_test else None,
        risk=report.on_test.risk if report.on_test else None,
    )


def summary(figures: Figures) -> str:
    """The figures in a sentence or two."""
    said = (
        f"{figures.metric.replace('_', ' ')} {figures.value:.3f} on {figures.rows} test rows "
        f"(95 % {figures.lower:.3f} to {figures.upper:.3f})"
    )
    if figures.gain is not None:
        said += f", {figures.gain:+.3f} over the {figures.against}"
    if figures.coverage is not None:
        risk = "" if figures.risk is None else f", {figures.risk:.1%} of the answers wrong"
        said += f"; at its threshold it answers {figures.coverage:.0%}{risk}"
    return said[:1].upper() + said[1:] + "."
