"""`concertino route`: a decision a line, in order, whatever the lines hold."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.cli.conftest import Command


def jsonl(texts: Sequence[str]) -> str:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


def test_a_person_is_told_who_how_sure_and_why(concertino: Command) -> None:
    done = concertino("route", "Is a contract binding?")
    assert done.returncode == 0 and done.stderr == ""
    for part in ("legal", "0.80", "linear", "A keyword of legal.", "general 0.05"):
        assert part in done.stdout


def test_json_is_the_decision(concertino: Command) -> None:
    told = json.loads(concertino("route", "--json", "-", stdin="def f(): pass").stdout)
    assert {name: told[name] for name in ("specialist", "confidence", "tier", "reason")} == {
        "specialist": "code",
        "confidence": 0.8,
        "tier": "linear",
        "reason": "A keyword of code.",
    }
    assert told["scores"]["code"] == 0.8


def test_it_needs_no_home_and_leaves_none(concertino: Command) -> None:
    assert concertino("route", "x", CONCERTINO_HOME="/proc/nowhere").returncode == 0
    assert concertino("route", "x").returncode == 0 and not concertino.home.exists()


@pytest.mark.parametrize("stdin", [False, True])
def test_lines_are_answered_in_order_beyond_a_batch(concertino: Command, stdin: bool) -> None:
    words = ["a contract", "def f", "a bank", "a fever", "hello"] * 41
    path = concertino.folder / "texts.jsonl"
    path.write_text(jsonl(words), "utf-8")
    done = concertino("route", "--jsonl", "-", stdin=path.read_bytes()) if stdin else concertino(
        "route", "--jsonl", str(path)
    )  # fmt: skip
    found = [json.loads(line)["specialist"] for line in done.stdout.splitlines()]
    assert found == ["legal", "code", "finance", "medical", "general"] * 41


def test_lines_end_at_a_newline_and_nowhere_else(concertino: Command) -> None:
    texts = ["a contract\u2028 of\u2029 two\u0085 parts", "\x0b def \x0c", ""]
    done = concertino("route", "--jsonl", "-", stdin=jsonl(texts))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["specialist"] for line in done.stdout.split("\n")[:-1]] == ["legal", "code", "general"]


def test_blank_lines_carriage_returns_a_mark_and_a_missing_last_newline_do_no_harm(concertino: Command) -> None:
    done = concertino("route", "--jsonl", "-", stdin=b'\xef\xbb\xbf{"text": "a bank"}\r\n\n  \n{"text": "def"}')
    assert [json.loads(line)["specialist"] for line in done.stdout.splitlines()] == ["finance", "code"]


@pytest.mark.parametrize("bad", ["{", '{"txt": "x"}', '{"text": 5}', '["text"]', '{"text": "\udcff"}', "null"])
def test_a_bad_line_is_named_and_has_an_error_in_its_place(concertino: Command, bad: str) -> None:
    path = concertino.folder / "texts.jsonl"
    good = jsonl(["a contract"] * 70)
    path.write_bytes(good.encode() + bad.encode("utf-8", "surrogateescape") + b"\n" + good.encode())
    done = concertino("route", "--jsonl", str(path))
    assert done.returncode == 1
    assert f"{path}, line 71" in done.stderr and "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines.pop(70)["error"]["code"] == "invalid_request"
    assert [line["specialist"] for line in lines] == ["legal"] * 140


def test_a_refused_text_has_an_error_in_its_place_and_the_rest_goes_on(concertino: Command) -> None:
    concertino.config.write_text(concertino.config.read_text().replace("compliance: [phi]", "compliance: []"))
    refused = "Patient John Smith, SSN 078-05-1120, MRN 12345678, diagnosed with diabetes and HIV."
    done = concertino("route", "--jsonl", "-", stdin=jsonl(["a contract", refused, "a bank"]))
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first["specialist"], second["error"]["code"], third["specialist"]) == ("legal", "policy_refused", "finance")
    assert done.returncode == 5 and "line 2" in done.stderr


def test_memory_does_not_grow_with_the_file(concertino: Command) -> None:
    def peak(lines: int) -> int:
        path = concertino.folder / f"{lines}.jsonl"
        path.write_text(jsonl(["a contract " + "word " * 400]) * lines)
        code = (
            "import resource, sys; from concertino.cli import run; status = run(sys.argv[1:]); "
            "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)); sys.exit(status)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "route", "--jsonl", str(path)],
            env=concertino.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.count("\n") == lines
        return int(done.stderr)

    assert peak(4000) - peak(100) < 8_000  # KiB; the larger file alone has 8 MB


def test_a_text_or_a_file_must_be_given_and_not_both(concertino: Command) -> None:
    assert concertino("route").returncode == 2
    assert concertino("route", "x", "--jsonl", "-").returncode == 2
    assert concertino("route", "--jsonl", "nowhere.jsonl").returncode == 2
