"""MBPP's own solutions against its tests: in the sandbox, and in one plain process, which trusts them.

    python bench/programs.py --data-dir DIR [--every 1]

What fails in both has broken tests; what fails in the sandbox alone needs what the sandbox does not have. Prints each
failure with its outcome, then the counts and the seconds a problem takes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from concertino.programs.outcome import Outcome
from concertino.programs.sandbox import run_tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir",
        default=os.environ.get("CONCERTINO_DATA_DIR"),
        help="folder with the public sets; default: $CONCERTINO_DATA_DIR",
    )
    parser.add_argument("--every", type=int, default=1, help="take every n-th problem")
    arguments = parser.parse_args()
    if not arguments.data_dir:
        parser.error("give --data-dir or set CONCERTINO_DATA_DIR")
    lines = (Path(arguments.data_dir) / "code/mbpp.jsonl").read_text("utf-8").splitlines()
    problems = [json.loads(line) for line in lines][:: arguments.every]
    passed = by_sandbox_alone = 0
    spent = 0.0
    for problem in problems:
        code, name = problem["prompt"] + problem["canonical_solution"], problem["entry_point"]
        started = time.monotonic()
        verdict = run_tests(code, f"import program\n{problem['test']}\ncheck(program.{name})\n")
        spent += time.monotonic() - started
        if verdict.outcome is Outcome.PASSED:
            passed += 1
            continue
        plain = subprocess.run(
            [sys.executable, "-I", "-c", f"{code}\n{problem['test']}\ncheck({name})\n"], capture_output=True, timeout=60
        )
        by_sandbox_alone += plain.returncode == 0
        print(f"{problem['task_id']}: {verdict.outcome}, plain {plain.returncode}: {verdict.said}")
    print(f"{passed} of {len(problems)} pass in the sandbox, {spent / len(problems):.2f} s each;", end=" ")
    print(f"{by_sandbox_alone} fail there alone")


if __name__ == "__main__":
    main()
