"""Milliseconds of one routing decision in process, policy included: `python bench/route_latency.py`."""

import time

from concertino import Team

QUESTIONS = (
    "How do I reverse a list in Python?",
    "Can my landlord keep the deposit?",
    "Why was my card payment declined?",
    "What are symptoms of anaemia?",
    "What should I cook tonight?",
)
RUNS = 500


def main() -> None:
    with Team.default() as team:
        for question in QUESTIONS * 10:
            team.route(question)
        times = []
        for run in range(RUNS):
            started = time.perf_counter()
            team.route(QUESTIONS[run % len(QUESTIONS)])
            times.append((time.perf_counter() - started) * 1000)
    times.sort()
    print(f"p50 {times[RUNS // 2]:.2f} ms, p99 {times[RUNS * 99 // 100]:.2f} ms, {RUNS} decisions")


if __name__ == "__main__":
    main()
