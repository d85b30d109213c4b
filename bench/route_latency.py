"""Milliseconds of one routing decision in process, policy included.

python bench/route_latency.py [--runs 500]
"""

import argparse
import time

from concertino import Team

QUESTIONS = (
    "How do I reverse a list in Python?",
    "Can my landlord keep the deposit?",
    "Why was my card payment declined?",
    "What are symptoms of anaemia?",
    "What should I cook tonight?",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="decisions that are timed")
    runs = parser.parse_args().runs
    with Team.default() as team:
        for question in QUESTIONS * 10:
            team.route(question)
        times = []
        for run in range(runs):
            started = time.perf_counter()
            team.route(QUESTIONS[run % len(QUESTIONS)])
            times.append((time.perf_counter() - started) * 1000)
    times.sort()
    print(f"p50 {times[runs // 2]:.2f} ms, p99 {times[runs * 99 // 100]:.2f} ms, {runs} decisions")


if __name__ == "__main__":
    main()
