"""The default team as it is served: time until ready, memory, first token, tokens per second beside the bare engine.

    python bench/serving.py [--runs 5] [--out FILE]

Starts `concertino up` on a free port of loopback and, in a process of its own, llama.cpp without Concertino on the same
file with the same settings. Both are asked the same questions in turn, so that their ratio holds on a noisy machine.
"""

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from concertino.backends.llamacpp.engine import parameters
from concertino.config import load
from concertino.models.store import Store

QUESTION = "Write a Python function that reverses a linked list."
TOKENS = 96


@contextmanager
def served() -> Iterator[tuple[str, psutil.Process, float]]:
    """A running gateway: its URL, its process, and the seconds until it answered."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "concertino", "up", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"].removesuffix("/v1")
        yield url, psutil.Process(process.pid), time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def memory(process: psutil.Process) -> int:
    """Bytes in memory of a process and its children; pages that they share are counted once (PSS)."""
    return sum(int(one.memory_full_info().pss) for one in [process, *process.children(recursive=True)])


def ask(url: str, model: str, question: str) -> tuple[float, float, int]:
    """Seconds to the first token, tokens per second after it, tokens."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "temperature": 0,
        "max_tokens": TOKENS,
    }
    request = Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    times, started = [], time.perf_counter()
    with urlopen(request, timeout=120) as response:
        for line in response:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    times.append(time.perf_counter())
    return times[0] - started, (len(times) - 1) / (times[-1] - times[0]), len(times)


def bare(pipe: Connection, spec: dict[str, Any]) -> None:
    """llama.cpp alone: answers questions from the pipe with what `ask` returns."""
    import xllamacpp

    params = parameters(spec)
    params.hostnames = ["127.0.0.1"]
    server = xllamacpp.Server(params)
    pipe.send("ready")
    while (messages := pipe.recv()) is not None:
        times: list[float] = []

        def keep(chunk: Any, times: list[float] = times) -> None:
            for choice in chunk.get("choices", []):
                if choice["delta"].get("content"):
                    times.append(time.perf_counter())

        started = time.perf_counter()
        server.handle_chat_completions(
            {"messages": messages, "stream": True, "temperature": 0, "max_tokens": TOKENS}, keep
        )
        pipe.send((times[0] - started, (len(times) - 1) / (times[-1] - times[0]), len(times)))


def measure(runs: int) -> dict[str, Any]:
    settings = load()
    card = settings.card("code")
    assert card is not None
    spec = {
        "model_path": str(Store(settings.home_path).resolve(card.model)),
        "socket_path": "",
        "context_tokens": card.context_tokens,
        "parallel": 4,
        "threads": len(psutil.Process().cpu_affinity()),
        "batch_tokens": 64,
        "prompt_cache_mib": 256,
        "adapters": [],
        "embed": False,
    }
    with served() as (url, process, ready_s):
        at_start = memory(process)
        first_ever = ask(url, "code", "How do I read a file in Python?")
        os.environ.pop("GOMP_SPINCOUNT", None)  # what is set for the gateway is not set for the bare engine
        here, there = multiprocessing.get_context("spawn").Pipe()
        alone = multiprocessing.get_context("spawn").Process(target=bare, args=(there, spec))
        alone.start()
        here.recv()
        messages = [{"role": "system", "content": card.system}, {"role": "user", "content": QUESTION}]
        pairs = []
        for turn in range(runs + 1):
            # Never both at once; who goes first changes from turn to turn.
            mine = ask(url, "code", QUESTION) if turn % 2 else None
            here.send(messages)
            theirs = here.recv()
            pairs.append((mine or ask(url, "code", QUESTION), theirs))
        here.send(None)
        alone.join(10)
        at_end = memory(process)
    pairs = pairs[1:]  # the first is a warm-up
    return {
        "ready_s": round(ready_s, 1),
        "memory_gb_at_start": round(at_start / 1e9, 2),
        "memory_gb_after": round(at_end / 1e9, 2),
        "first_question_first_token_s": round(first_ever[0], 2),
        "gateway_first_token_s": round(statistics.median(pair[0][0] for pair in pairs), 2),
        "gateway_tokens_per_s": round(statistics.median(pair[0][1] for pair in pairs), 1),
        "bare_tokens_per_s": round(statistics.median(pair[1][1] for pair in pairs), 1),
        "ratio_median": round(statistics.median(pair[0][1] / pair[1][1] for pair in pairs), 3),
        "ratios": [round(pair[0][1] / pair[1][1], 3) for pair in pairs],
        "tokens": [pair[0][2] for pair in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often each question is asked")
    parser.add_argument("--out", default="", help="write the figures here as JSON too")
    arguments = parser.parse_args()
    result = measure(arguments.runs)
    print(json.dumps(result, indent=1))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
