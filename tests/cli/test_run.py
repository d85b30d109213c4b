"""`concertino run`: a skill over a file."""

import json
import signal
import time

import pytest

from tests.cli.conftest import Command, Gateway
from tests.cli.test_route import jsonl


@pytest.mark.parametrize("through", ["gateway", "process"])
def test_each_text_gets_a_line_in_order(concertino: Command, gateway: Gateway, through: str) -> None:
    texts = ["audit rights", "liability", "neither"] * 30
    more = ["--no-gateway"] if through == "process" else []
    done = concertino("run", "legal/clause-type", "--jsonl", "-", *more, stdin=jsonl(texts))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["output"] for row in rows] == ["audit rights", "liability", "liability"] * 30
    assert all(row.keys() == {"line", "output", "confidence", "abstained"} and row["confidence"] == 1.0 for row in rows)
    assert [row["line"] for row in rows] == list(range(1, 91))
    assert "90 answered" in done.stderr


@pytest.mark.parametrize("through", ["gateway", "process"])
def test_a_row_with_the_fields_of_a_skill_is_put_together_as_in_training(
    concertino: Command, gateway: Gateway, through: str
) -> None:
    rows = [
        {"text": "Does it help?", "contexts": ["Forty mice.", "There was an effect."], "id": 7, "label": "yes"},
        {"text": "Does it help?", "contexts": ["Forty mice.", "There was nothing."]},
        {"text": "Does it help?\nThere was an effect."},
    ]
    more = ["--no-gateway"] if through == "process" else []
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = concertino("run", "medical/verdict", "--jsonl", "-", *more, stdin=lines)
    assert done.returncode == 0, done.stderr
    # The echo answers with the label that the text names: "an effect" stands in the contexts alone.
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["output"] for answer in answers] == ["an effect", "no effect", "an effect"]
    assert [answer.get("id") for answer in answers] == [7, None, None]


def test_a_row_that_lacks_a_field_is_named_with_the_fields_that_are_wanted(concertino: Command) -> None:
    rows = [{"text": "Does it help?", "contexts": None}, {"contexts": ["There was an effect."]}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = concertino("run", "medical/verdict", "--jsonl", "-", "--no-gateway", stdin=lines)
    first, second = (json.loads(line)["error"]["message"] for line in done.stdout.splitlines())
    assert "stdin, line 1: field 'contexts' is null" in first and '"text", "contexts"' in first
    assert "stdin, line 2: field 'text' is missing; there is contexts" in second
    assert done.returncode == 1 and "0 answered" in done.stderr


def test_the_card_shows_what_a_skill_reads_of_a_row(concertino: Command) -> None:
    assert r"reads: '{text}\n{contexts}'" in concertino("specialists", "medical").stdout


@pytest.mark.parametrize("through", ["gateway", "process"])
def test_a_misspelt_skill_leaves_earlier_answers_as_they_are(
    concertino: Command, gateway: Gateway, through: str
) -> None:
    target = concertino.folder / "out.jsonl"
    target.write_text("an hour's work\n")
    more = ["--no-gateway"] if through == "process" else []
    done = concertino(
        "run", "legal/clause-typo", "--jsonl", "-", "--out", str(target), *more, stdin=jsonl(["liability"])
    )
    assert done.returncode == 2 and "is not a skill of this team" in done.stderr
    assert target.read_text() == "an hour's work\n"


def test_out_takes_the_lines_and_json_then_sums_up(concertino: Command) -> None:
    source, target = concertino.folder / "in.jsonl", concertino.folder / "out.jsonl"
    source.write_text(jsonl(["liability"] * 3))
    done = concertino("run", "legal/clause-type", "--jsonl", str(source), "--out", str(target), "--json")
    assert json.loads(done.stdout) == {"answered": 3, "abstained": 0, "failed": 0}
    assert len(target.read_text().splitlines()) == 3


def test_the_file_that_is_read_is_not_overwritten(concertino: Command) -> None:
    source = concertino.folder / "in.jsonl"
    source.write_text(jsonl(["liability"]))
    done = concertino("run", "legal/clause-type", "--jsonl", str(source), "--out", str(source))
    assert done.returncode == 2 and source.read_text() == jsonl(["liability"])


@pytest.mark.parametrize("skill", ["legal/clause-typ", "legal", "nobody/at-all"])
def test_an_unknown_skill_lists_those_that_there_are(concertino: Command, gateway: Gateway, skill: str) -> None:
    for more in ([], ["--no-gateway"]):
        done = concertino("run", skill, "--jsonl", "-", *more)
        assert done.returncode == 2 and "legal/clause-type" in done.stderr and done.stdout == ""


def test_a_text_that_cannot_be_answered_has_an_error_in_its_place(concertino: Command, gateway: Gateway) -> None:
    for more in ([], ["--no-gateway"]):
        texts = ["liability", "word " * 200_000, "audit rights"]
        done = concertino("run", "legal/clause-type", "--jsonl", "-", *more, stdin=jsonl(texts))
        first, second, third = map(json.loads, done.stdout.splitlines())
        assert (first["output"], third["output"]) == ("liability", "audit rights")
        assert second["error"]["code"] == "context_length_exceeded"
        assert done.returncode == 1 and "1 with an error" in done.stderr


def test_a_row_that_cannot_be_read_has_an_error_in_its_place_and_the_others_are_answered(concertino: Command) -> None:
    good = b'{"text": "liability"}'
    bad = [
        b"nonsense",
        b'{"text": null, "id": "b"}',
        b'["liability"]',
        b'{"text": "caf\xe9"}',
        b'{"text": "\\ud800"}',
        b'"x"',
    ]
    mixed = b"\n".join(part for pair in zip([good] * len(bad), bad, strict=True) for part in pair)
    source, target = concertino.folder / "in.jsonl", concertino.folder / "out.jsonl"
    source.write_bytes(b"\n\n" + mixed + b"\n" + good)
    done = concertino("run", "legal/clause-type", "--jsonl", str(source), "--out", str(target))
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(3, 3 + 2 * len(bad) + 1))  # blank lines count
    assert [row.get("output") for row in rows] == ["liability", None] * len(bad) + ["liability"]
    assert all(f"line {row['line']}: " in row["error"]["message"] for row in rows if "error" in row)
    assert rows[3]["id"] == "b"
    assert done.returncode == 1 and f"{len(bad) + 1} answered" in done.stderr and "6 with an error" in done.stderr


def test_an_interrupted_file_is_gone_on_with(concertino: Command) -> None:
    source, target = concertino.folder / "in.jsonl", concertino.folder / "out.jsonl"
    source.write_text(jsonl(["liability", "audit rights"] * 50))
    start = ("run", "legal/clause-type", "--jsonl", str(source), "--out", str(target))
    assert concertino(*start).returncode == 0
    whole = target.read_text()
    target.write_text(whole[: len(whole) // 2])  # in the middle of a line
    done = concertino(*start, "--resume", "--json")
    assert done.returncode == 0 and target.read_text() == whole
    assert 45 < json.loads(done.stdout)["answered"] < 55
    assert json.loads(concertino(*start, "--resume", "--json").stdout)["answered"] == 0  # nothing is left
    target.unlink()
    assert concertino(*start, "--resume").returncode == 0 and target.read_text() == whole  # nothing was there


@pytest.mark.parametrize("kept", ['{"output": "x"}\n', "hello\n"])
def test_a_file_of_somebody_else_s_is_not_gone_on_with(concertino: Command, kept: str) -> None:
    source, target = concertino.folder / "in.jsonl", concertino.folder / "out.jsonl"
    source.write_text(jsonl(["liability"]))
    target.write_text(kept)
    done = concertino("run", "legal/clause-type", "--jsonl", str(source), "--out", str(target), "--resume")
    assert done.returncode == 2 and "Name another file" in done.stderr and target.read_text() == kept
    assert concertino("run", "legal/clause-type", "--jsonl", str(source), "--resume").returncode == 2


def test_a_gateway_that_has_enough_to_do_is_asked_again(concertino: Command, gateway: Gateway) -> None:
    gateway.stop()
    concertino.write_config(delay_s=0.05, more="gateway: {max_in_flight: 2}\n")
    running = Gateway(concertino.start("up", "--port", "0", "--json"))
    try:
        done = concertino("run", "legal/clause-type", "--jsonl", "-", stdin=jsonl(["liability"] * 24))
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 24
    finally:
        running.stop()


def test_an_engine_that_is_gone_stops_the_batch(concertino: Command) -> None:
    config = concertino.config.read_text()
    concertino.config.write_text(
        config.replace(
            "{type: echo, options: {delay_s: 0.0}}", "{type: http, options: {base_url: 'http://127.0.0.1:9/v1'}}"
        )
    )
    done = concertino("run", "legal/clause-type", "--jsonl", "-", stdin=jsonl(["liability"] * 20))
    assert done.returncode == 6 and done.stdout == ""


@pytest.mark.parametrize("through", ["gateway", "process"])
def test_ctrl_c_keeps_what_was_written(concertino: Command, gateway: Gateway, through: str) -> None:
    gateway.stop()
    concertino.write_config(delay_s=0.3)
    source = concertino.folder / "in.jsonl"
    source.write_text(jsonl(["liability"] * 300))
    running = Gateway(concertino.start("up", "--port", "0", "--json")) if through == "gateway" else None
    process = concertino.start("run", "legal/clause-type", "--jsonl", str(source))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["output"] == "liability"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said and time.monotonic() - began < 5
    assert all(json.loads(line)["output"] for line in rest.splitlines())
    if running:
        running.stop()
