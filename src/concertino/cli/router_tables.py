"""What the verbs of `concertino router` found, as text."""

from collections import Counter, defaultdict
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from concertino.orchestrator.propose import Export, Proposal
    from concertino.router.manifest import Manifest
    from concertino.training.routing.explain import TextExplanation
    from concertino.training.routing.fit import OutcomeReport
    from concertino.training.routing.left_out import LeftOut
    from concertino.training.routing.neighbours import Gain
    from concertino.training.routing.own import OwnReport
    from concertino.training.routing.own_figures import OwnFigures
    from concertino.training.routing.own_judge import JudgedExamples
    from concertino.training.routing.train import Report


def report(found: "Report", wrong: int) -> str:
    """`evaluate`: a line a part, its confusion matrix and its surest mistakes, then tiers and speed."""
    lines = []
    for name, part in found.parts.items():
        detail = found.details[name]
        lines.append(
            f"{name:<9} {part.rows:>6} rows  accuracy {part.accuracy:.3f}  macro-F1 {part.macro_f1:.3f}"
            f"  ECE {part.ece:.3f}  AUROC {part.auroc:.3f}  OOD AUROC {detail.ood_auroc:.3f}"
            f"  abstained {part.abstained:.3f}"
        )
    for name, detail in found.details.items():
        lines += ["", f"{name}: rows by label, columns by choice", *_matrix(detail.confusion)]
        if wrong and detail.wrong:
            lines.append(f"{name}: the surest of {len(detail.wrong)} mistakes")
        for item in detail.wrong[:wrong]:
            text = " ".join(item.text.split())[:90]
            lines.append(f"  {item.label:>8} -> {item.chosen:<8} {item.confidence:.2f}  {text}")
    lines.append("")
    for name, tier in found.tiers.items():
        lines.append(f"tier {name:<13} share {tier.share:.3f}  p50 {tier.p50_ms:.2f} ms  p99 {tier.p99_ms:.2f} ms")
    speed = found.speed
    lines.append(f"encoder: one text {speed.p50_ms:.2f} ms, batch {speed.texts_per_second:.0f} texts/s")
    return "\n".join(lines)


def neighbours(out: "Path", manifest: "Manifest", gains: "list[Gain]") -> str:
    """`train-neighbours`: what calibration rows that are like none of the bank's say of it."""
    settings = manifest.neighbours
    texts = settings.rows if settings else 0
    lines = [f"{out}: {texts} texts, threshold {manifest.threshold}"]
    for gain in gains:
        chosen = " (written)" if settings and gain.share == settings.share else ""
        told = "  ".join(f"{name} {value:.4f}" for name, value in gain.accuracy.items())
        lines.append(
            f"share {gain.share:.1f}: {told}  log loss {gain.log_loss:.3f}"
            f"  ({gain.rows} rows, {gain.asked:.3f} asked){chosen}"
        )
    return "\n".join(lines)


def _matrix(confusion: "Mapping[str, Mapping[str, int]]") -> list[str]:
    columns = list(next(iter(confusion.values()), ()))
    width = max(map(len, (*confusion, *columns)), default=0) + 2
    head = " " * width + "".join(f"{name:>{max(width, 9)}}" for name in columns)
    return [head] + [
        f"{label:<{width}}" + "".join(f"{row[name]:>{max(width, 9)}}" for name in columns)
        for label, row in confusion.items()
    ]


def left_out(judged: "list[LeftOut]") -> str:
    """`train-descriptions`: means over domains, a line for each team and kind of description, then every domain."""
    groups: defaultdict[tuple[str, str, int], list[LeftOut]] = defaultdict(list)
    for item in judged:
        groups[item.team, item.description, item.examples].append(item)
    lines = [f"{'team':<32}{'description':<13}{'examples':>8}{'recall':>8}{'precision':>11}{'best F1':>9}"]
    for (team, description, examples), found in groups.items():
        recall, precision, best = (
            sum(values) / len(found)
            for values in zip(*((item.recall, item.precision, item.best_f1) for item in found), strict=True)
        )
        lines.append(f"{team:<32}{description:<13}{examples:>8}{recall:>8.3f}{precision:>11.3f}{best:>9.3f}")
        for item in found:
            lines.append(f"  {item.domain:<51}{item.recall:>8.3f}{item.precision:>11.3f}{item.best_f1:>9.3f}")
    return "\n".join(lines)


def outcomes(found: "OutcomeReport") -> str:
    """`fit --outcomes`: the table, and a line for each router."""
    lines = [
        ", ".join(f"{part} {count}" for part, count in found.rows.items())
        + f" texts, {found.holes} holes, {found.merged} lines of a text joined with an earlier one",
        "cost: " + ", ".join(f"{name} {cost:g}" for name, cost in zip(found.candidates, found.costs, strict=True)),
        f"{'router':<32}{'quality':>8}{'cost':>8}{'AIQ':>7}{'APGR':>7}{'oracle gap':>12}",
    ]
    lines += [
        f"{item.router:<32}{item.quality:>8.3f}{item.cost:>8.2f}{item.aiq:>7.3f}"
        + (f"{'-':>7}" if isnan(item.apgr) else f"{item.apgr:>7.3f}")
        + f"{item.oracle_gap:>12.3f}"
        for item in found.curves
    ]
    if any(isnan(item.apgr) for item in found.curves):
        lines.append("no APGR: the cheapest candidate is the best single one on the test part")
    lines += found.notes
    return "\n".join(lines)


def own(found: "OwnReport") -> str:
    """`fit --examples`: what was chosen, and figures of the parts."""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in found.measures.items()) or "nothing to measure them on"
    kept = " + ".join(found.kept) or "none"
    lines = [
        ", ".join(f"{part} {count}" for part, count in found.rows.items()) + f" rows, {len(found.domains)} domains",
        f"chosen: {found.method}, encoder {found.setting.encoder}, number {found.setting.number:g}, "
        + (f"{found.setting.pieces} pieces a domain" if found.setting.pieces else "finer labels"),
        f"nobody's is told by {kept}; AUROC on held rows: {scores}",
        f"temperature {found.temperature:g}, threshold {found.threshold:g}",
    ]
    if found.stand_ins:
        lines.append("too few rows are nobody's: domains that were left out stood in for them")
    lines += _own_lines("calibration", found.calibration)
    if found.test is not None:
        lines += _own_lines("test", found.test)
    lines.append(
        f"one decision {found.latency.p50_ms:.1f} ms, p99 {found.latency.p99_ms:.1f}; {found.bytes_on_disk} bytes"
    )
    return "\n".join(lines)


def judged(found: "JudgedExamples", wrong: int) -> str:
    """`evaluate --examples`: figures, the confusion matrix, and the surest mistakes."""
    lines = _own_lines(found.name, found.figures)
    lines += ["rows by label, columns by choice", *_matrix(found.confusion)]
    if wrong and found.wrong:
        lines.append(f"the surest of {len(found.wrong)} mistakes")
    for item in found.wrong[:wrong]:
        text = " ".join(item.text.split())[:90]
        lines.append(f"  {item.label:>16} -> {item.chosen:<16} {item.confidence:.2f}  {text}")
    lines.append(f"one decision {found.latency.p50_ms:.1f} ms, p99 {found.latency.p99_ms:.1f}")
    return "\n".join(lines)


def _own_lines(name: str, part: "OwnFigures") -> list[str]:
    return [
        f"{name}: {part.rows} rows that are somebody's, {part.outside} that are nobody's",
        f"  accuracy {part.accuracy:.3f}  right {part.right:.3f}  coverage {part.coverage:.3f}"
        f"  right where not abstained {part.selective_accuracy:.3f}  nobody's refused {part.refused:.3f}",
        f"  macro-F1 {part.macro_f1:.3f}  ECE {part.ece:.3f}  OOD AUROC {part.ood_auroc:.3f}"
        f" (by confidence {part.confidence_auroc:.3f})",
        "  recall: " + ", ".join(f"{label} {value:.3f}" for label, value in part.recall.items()),
    ]


def proposals(found: "list[Proposal]") -> str:
    """`propose`: a line a request."""
    if not found:
        return "nothing to label: the audit log has no request that the router chose for"
    return "\n".join(
        f"{item.id}  {item.why.value:<9} {item.specialist} or {item.label or item.second or 'nobody'}"
        f" (margin {item.margin:.2f}, {item.tier})" + (f"  {' '.join(item.text.split())[:90]}" if item.text else "")
        for item in found
    )


def exported(found: "Export", path: "Path") -> str:
    """`propose --export`: what was written and what was not."""
    lines = [f"{path}: {len(found.rows)} rows, {found.confirmed} confirmed, {found.corrected} corrected"]
    lines += [f"left out: {count} {why}" for why, count in found.left_out.items()]
    labels = Counter(row.label for row in found.rows)
    if labels:
        lines.append(", ".join(f"{label} {count}" for label, count in sorted(labels.items())))
    return "\n".join(lines)


def explanation(found: "TextExplanation") -> str:
    """`explain`: the decision, the head's words, the descriptions, the neighbours."""
    decision = found.decision
    lines = [
        f"{decision.specialist} (confidence {decision.confidence:.2f}, tier {decision.tier.value})",
        decision.reason,
        "  ".join(f"{name} {score:.2f}" for name, score in decision.scores.items()),
    ]
    if found.words:
        lines.append(f"words for {found.best} (against):")
        ranked = sorted(found.words, key=lambda item: -abs(item.weight))[:10]
        lines.append("  " + "  ".join(f"{item.word} {item.weight:+.2f}" for item in ranked))
    if found.described:
        lines.append("described specialists:")
    for item in found.described:
        lines.append(
            f"  {item.domain} {item.probability:.2f}: nearest phrase {item.phrase!r}, {item.z_score:.1f} deviations"
            f" above other texts; others' texts at {item.rival:.2f}"
        )
    said = "nearest training examples" if found.nearest else "no nearest training examples"
    lines.append(f"{said} ({found.examples})" + (":" if found.nearest else ""))
    lines += [f"  {near.likeness:.2f} {near.label:<8} {' '.join(near.text.split())[:90]}" for near in found.nearest]
    return "\n".join(lines)
