"""How fast rows are curated, and in how much memory.

    python bench/curation.py [--rows N] [--words 6 18]

Makes labelled rows of random words (Zipf's law, 30,000 words), short ones unless --words says how many a row has, among
them exact duplicates, near-duplicates and personal data, and curates them in a process of its own, whose peak memory is
measured with that of its workers. Made rows have nothing to do with how good a filter is; this measures speed and
memory only.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_WORDS = 30_000
_LABELS = 50
_KEPT = 20_000
"""Rows kept at most, to make copies of."""
_RECIPE = """\
name: bench/short-rows
description: Made rows.
instruction: Name the topic.
data:
  sources: [{path: rows.jsonl, label: label}]
  personal_data: scrub
"""
_RUN = """\
import sys, time
from pathlib import Path
from concertino.datasets.curate import curate
from concertino.recipe_file import load_recipe

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    curate(load_recipe(folder / "recipe.yaml"), folder, folder / "dataset", print)
"""


def make_rows(path: Path, rows: int, fewest: int, most: int, seed: int = 0) -> None:
    """Write rows of so many words: 2 % copies, 1 % copies with a word more, 1 % with an address."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(_WORDS)]
    texts = _texts(words, fewest, most, seed)
    earlier: list[tuple[str, str]] = []
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            kind = draw.random()
            if kind < 0.02 and earlier:
                text, label = draw.choice(earlier)
            elif kind < 0.03 and earlier:
                text, label = draw.choice(earlier)
                text += " " + draw.choice(words)
            else:
                text, label = next(texts), f"topic {draw.randrange(_LABELS)}"
                if kind > 0.99:
                    text += f" {draw.choice(words)}@example.org"
            if number % 50 == 0 and len(earlier) < _KEPT:
                earlier.append((text, label))
            file.write(json.dumps({"text": text, "label": label}) + "\n")


def _texts(words: list[str], fewest: int, most: int, seed: int) -> Iterator[str]:
    """Texts of `fewest` to `most` words, drawn by Zipf's law, without end."""
    draw = np.random.default_rng(seed)
    heights = np.cumsum(1 / (np.arange(len(words)) + 10))
    while True:
        lengths = draw.integers(fewest, most, size=1000, endpoint=True)
        places = np.searchsorted(heights, draw.random(lengths.sum()) * heights[-1]).tolist()
        end = 0
        for length in lengths.tolist():
            start, end = end, end + length
            yield " ".join([words[place] for place in places[start:end]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows that are made and curated")
    parser.add_argument("--words", type=int, nargs=2, default=(6, 18), metavar=("FEWEST", "MOST"), help="of a row")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_rows(folder / "rows.jsonl", arguments.rows, *arguments.words)
        (folder / "recipe.yaml").write_text(_RECIPE)
        (folder / "run.py").write_text(_RUN)
        size = (folder / "rows.jsonl").stat().st_size
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, folder / "run.py", folder])
        peak = 0
        while child.poll() is None:
            peak = max(peak, _memory(child.pid))
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        if child.returncode:
            sys.exit(child.returncode)
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        for line in (folder / "dataset" / "datasheet.md").read_text("utf-8").split("## Removed")[0].splitlines():
            print(line)
        print(f"{arguments.rows:,} rows, {size / 1e6:.0f} MB: {seconds:.0f} s, {arguments.rows / seconds:,.0f} rows/s")
        print(f"processor time {own.ru_utime + own.ru_stime:.0f} s, peak memory of all processes {peak / 1e6:,.0f} MB")


def _memory(pid: int) -> int:
    """Bytes of physical memory of a process and its descendants, shared pages counted once for each."""
    import psutil

    try:
        process = psutil.Process(pid)
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main()
