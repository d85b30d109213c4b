"""Plots as inline SVG. Colours are CSS variables of the page, so that they follow its light or dark scheme."""

import math
from collections.abc import Callable, Sequence
from html import escape

from concertino.evaluation.metrics import Bin, RiskCoverage
from concertino.evaluation.results import Confusion, EvaluationReport, Kind, RunnerResult

WIDTH = 680
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 16, 44
_SQUARE = 380
_OTHER_COLOURS = 4
"""Of curves that are not the specialist's, which alone is drawn in the accent colour: s1, s2, ... of the page."""


def bars(runners: Sequence[RunnerResult], metric: str) -> str:
    """A horizontal bar a runner with its interval; the specialist in the accent colour."""
    left = max(150, 24 + 7 * max(len(runner.name) for runner in runners))
    row, height = 34, 30 + 34 * len(runners)
    span = WIDTH - left - 70
    parts = []
    for tick in range(0, 101, 25):
        x = left + span * tick / 100
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 26}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 10}" text-anchor="middle">{tick}%</text>')
    for number, runner in enumerate(runners):
        y = 6 + number * row
        kind = "mine" if runner.kind is Kind.SPECIALIST else "other"
        low, high, end = (left + span * share for share in (runner.lower, runner.upper, runner.value))
        middle = y + 10
        said = f"{runner.name}: {runner.value:.1%} ({runner.lower:.1%} to {runner.upper:.1%}), {runner.rows} rows"
        parts.append(
            f"<g><title>{escape(said)}</title>"
            f'<text class="name" x="{left - 10}" y="{middle + 4}" text-anchor="end">{escape(runner.name)}</text>'
            f'<rect class="{kind}" x="{left}" y="{y}" width="{max(1.0, end - left):.1f}" height="20" rx="2"/>'
            f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<line class="whisker" x1="{low:.1f}" x2="{low:.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
            f'<line class="whisker" x1="{high:.1f}" x2="{high:.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
            f'<text class="value" x="{high + 8:.1f}" y="{middle + 4}">{runner.value:.1%}</text></g>'
        )
    return _svg(WIDTH, height, f"{metric} of each runner with its 95 % interval", parts)


def cost_and_quality(runners: Sequence[RunnerResult], metric: str) -> str:
    """CPU seconds a request (logarithmic) against quality: up and to the left is better."""
    known = [(runner, runner.cpu_s) for runner in runners if runner.cpu_s]
    if len(known) < 2:
        return ""
    height = 320
    floor = math.floor(5 * min(runner.lower for runner, _ in known)) / 5
    low = math.floor(math.log10(min(cost for _, cost in known)))
    high = max(low + 1, math.ceil(math.log10(max(cost for _, cost in known))))

    def x_of(cost: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (math.log10(cost) - low) / (high - low)

    def y_of(share: float) -> float:
        return height - _BOTTOM - (height - _TOP - _BOTTOM) * (share - floor) / (1 - floor)

    floor = min(floor, 0.8)
    parts = _horizontal_grid(y_of, WIDTH, floor)
    for power in range(low, high + 1):
        x = x_of(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
        said = f"{10.0**power:g} s" if power >= 0 else f"{10.0 ** (power + 3):g} ms"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle">{said}</text>')
    parts.append(_axis(WIDTH / 2, height - 6, "median CPU time of a request, logarithmic"))
    placed: list[tuple[float, float]] = []
    for runner, cost in sorted(known, key=lambda pair: -pair[0].value):
        x, y, low_y, high_y = x_of(cost), y_of(runner.value), y_of(runner.lower), y_of(runner.upper)
        kind = "mine" if runner.kind is Kind.SPECIALIST else "other"
        anchor, shift = ("end", -10) if x > WIDTH * 0.72 else ("start", 10)
        text_y = y + 4
        while any(abs(text_y - other) < 15 and abs(x - place) < 110 for place, other in placed):
            text_y += 15
        placed.append((x, text_y))
        said = f"{runner.name}: {_seconds(cost)}, {runner.value:.1%}"
        parts.append(
            f"<g><title>{escape(said)}</title>"
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low_y:.1f}" y2="{high_y:.1f}"/>'
            f'<circle class="{kind} ring" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
            f'<text class="name" x="{x + shift:.1f}" y="{text_y:.1f}" text-anchor="{anchor}">'
            f"{escape(runner.name)}</text></g>"
        )
    return _svg(WIDTH, height, f"{metric} against CPU time of a request", parts)


def risk_and_coverage(curves: dict[str, RiskCoverage], alpha: float, at: tuple[float, float] | None) -> str:
    """Share of wrong answers among the most confident share of the rows; `at` is where the threshold stands."""
    if not curves:
        return ""
    height = 320
    most = max((max(curve.risk, default=0.0) for curve in curves.values()), default=0.0)
    top = max(0.1, math.ceil(max(most, alpha) * 10) / 10)

    def x_of(share: float) -> float:
        return _LEFT + (WIDTH - _LEFT - 130) * share

    def y_of(risk: float) -> float:
        return height - _BOTTOM - (height - _TOP - _BOTTOM) * risk / top

    parts = []
    for step in range(5):
        y = y_of(top * step / 4)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - 130}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{top * step / 4:.1%}</text>'
        )
        x = x_of(step / 4)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle">{step * 25}%</text>'
        )
    parts.append(_axis((_LEFT + WIDTH - 130) / 2, height - 6, "share of the rows that is answered"))
    y = y_of(alpha)
    parts.append(f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - 130}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts.append(f'<text class="tick" x="{_LEFT + 6}" y="{y - 5:.1f}">promise: at most {alpha:.0%} wrong</text>')
    ends: list[float] = []
    others = [name for name in curves if name != Kind.SPECIALIST]
    for name, curve in curves.items():
        colour = 1 + others.index(name) % _OTHER_COLOURS if name in others else 0
        shown = list(zip(curve.coverage, curve.risk, strict=True))
        step = max(1, len(shown) // 300)
        points = [*shown[:-1:step], shown[-1]]
        path = " ".join(f"{x_of(share):.1f},{y_of(risk):.1f}" for share, risk in points)
        end = y_of(shown[-1][1])
        while any(abs(end - other) < 15 for other in ends):
            end -= 15
        ends.append(end)
        parts.append(
            f'<g><title>{escape(name)}</title><polyline class="line s{colour}" points="{path}"/>'
            f'<text class="name" x="{x_of(1) + 8:.1f}" y="{end + 4:.1f}">{escape(name)}</text></g>'
        )
    if at is not None:
        said = f"at the threshold: {at[0]:.1%} answered, {at[1]:.1%} of them wrong"
        parts.append(
            f'<g><title>{said}</title><circle class="mine ring" cx="{x_of(at[0]):.1f}" cy="{y_of(at[1]):.1f}" r="6"/>'
            "</g>"
        )
    return _svg(WIDTH, height, "risk against coverage", parts)


def reliability_diagram(bins: Sequence[Bin]) -> str:
    """Accuracy against confidence; points on the diagonal are honest, and their area shows their rows."""
    if not bins:
        return ""
    most = max(found.rows for found in bins)

    def x_of(share: float) -> float:
        return _LEFT + (_SQUARE - _LEFT - _RIGHT) * share

    def y_of(share: float) -> float:
        return _SQUARE - _BOTTOM - (_SQUARE - _TOP - _BOTTOM) * share

    parts = _horizontal_grid(y_of, _SQUARE)
    for step in range(5):
        parts.append(
            f'<text class="tick" x="{x_of(step / 4):.1f}" y="{_SQUARE - _BOTTOM + 18}" text-anchor="middle">'
            f"{step * 25}%</text>"
        )
    parts.append(f'<line class="limit" x1="{x_of(0)}" x2="{x_of(1)}" y1="{y_of(0)}" y2="{y_of(1)}"/>')
    points = " ".join(f"{x_of(found.confidence):.1f},{y_of(found.accuracy):.1f}" for found in bins)
    parts.append(f'<polyline class="line s0" points="{points}"/>')
    for found in bins:
        said = f"said {found.confidence:.1%}, right {found.accuracy:.1%}, {found.rows} rows"
        radius = 4 + 8 * math.sqrt(found.rows / most)
        parts.append(
            f'<g><title>{said}</title><circle class="mine ring" cx="{x_of(found.confidence):.1f}" '
            f'cy="{y_of(found.accuracy):.1f}" r="{radius:.1f}"/></g>'
        )
    parts.append(_axis((_LEFT + _SQUARE) / 2, _SQUARE - 6, "confidence said (vertical: share right)"))
    return _svg(_SQUARE, _SQUARE, "accuracy against confidence", parts)


def confusion_table(confusions: Sequence[Confusion]) -> str:
    """The worst pairs with a bar each."""
    if not confusions:
        return ""
    most = max(pair.rows for pair in confusions)
    rows = "".join(
        f"<tr><td>{escape(pair.truth)}</td><td>{escape(pair.answer)}</td>"
        f'<td class="number">{pair.rows}</td>'
        f'<td class="meter"><i style="width:{100 * pair.rows / most:.0f}%"></i></td></tr>'
        for pair in confusions
    )
    head = "<tr><th>is</th><th>was answered as</th><th>rows</th><th></th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def threshold_point(report: EvaluationReport) -> tuple[float, float] | None:
    found = report.on_test
    return (found.coverage, found.risk) if found is not None and found.risk is not None else None


def _horizontal_grid(y_of: Callable[[float], float], width: int, floor: float = 0.0) -> list[str]:
    parts = []
    for step in range(5):
        share = floor + (1 - floor) * step / 4
        y = y_of(share)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share * 100:g}%</text>')
    return parts


def _axis(x: float, y: float, said: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{escape(said)}</text>'


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
