"""The curves of a training: one JSON object a line as it goes, and a picture of them."""

import json
import math
from pathlib import Path
from typing import Any

from concertino.errors import ConfigurationError
from concertino.training.checkpoint import written_whole

LINES, PICTURE = "curves.jsonl", "curves.png"


class Curves:
    """`curves.jsonl` and `curves.png` in a folder.

    `after` is the step that a training goes on from: points beyond it were lost with the process that made them, and
    are dropped, as is a line that a kill cut short. 0 begins anew.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.points = [point for point in _read(folder / LINES) if point["step"] <= after]
        with written_whole(folder / LINES) as partial:
            partial.write_text("".join(json.dumps(point) + "\n" for point in self.points), "utf-8")

    def add(self, step: int, **values: float) -> None:
        """A point: what was measured after a step. Values that are not finite are kept as null."""
        point: dict[str, Any] = {"step": step}
        point |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self.points.append(point)
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")

    def plot(self) -> Path | None:
        """Draw one panel for each name, in order of first appearance; None where there is nothing to draw."""
        names = list(dict.fromkeys(name for point in self.points for name in point if name != "step"))
        if not names:
            return None
        figure = _figure(len(names))
        for axes, name in zip(figure.axes, names, strict=False):
            known = [(point["step"], point[name]) for point in self.points if point.get(name) is not None]
            axes.plot(*zip(*known, strict=True) if known else ((), ()), marker="." if len(known) < 40 else "")
            axes.set_title(name.replace("_", " "))
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        with written_whole(self.folder / PICTURE) as partial:
            figure.savefig(partial, dpi=100)
        return self.folder / PICTURE


def _figure(panels: int) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError("Drawing curves needs matplotlib: pip install 'concertino[train]'") from error
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display, and leaves pyplot's global state alone
    for place in range(panels):
        figure.add_subplot(rows, columns, place + 1)
    return figure


def _read(path: Path) -> list[dict[str, Any]]:
    points = []
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    point = json.loads(line)
                except ValueError:
                    continue
                if isinstance(point, dict) and isinstance(point.get("step"), int):
                    points.append(point)
    return points
