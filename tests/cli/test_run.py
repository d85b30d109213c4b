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
    assert all(row.keys() == {"output", "confidence", "abstained"} and row["confidence"] == 1.0 for row in rows)
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
    outputs = [json.loads(line)["output"] for line in done.stdout.splitlines()]
    assert outputs == ["an effect", "no effect", "an effect"]


def test_a_row_that_lacks_a_field_is_named_with_the_fields_that_are_wanted(concertino: Command) -> None:
    lines = json.dumps({"text": "Does it help?", "contexts": None}) + "\n"
    done = concertino("run", "medical/verdict", "--jsonl", "-", "--no-gateway", stdin=lines)
    assert done.returncode == 1 and done.stdout == ""
    assert "stdin, line 1: field 'contexts' is missing" in done.stderr and '"text", "contexts"' in done.stderr


def test_the_card_shows_what_a_skill_reads_of_a_row(concertino: Command) -> None:
    assert r"reads: '{text}\n{contexts}'" in concertino("specialists", "medical").stdout


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


def test_a_bad_line_is_named_after_the_good_ones_are_written(concertino: Command) -> None:
    done = concertino("run", "legal/clause-type", "--jsonl", "-", stdin=jsonl(["liability"] * 3) + "nonsense\n")
    assert done.returncode == 1 and "stdin, line 4" in done.stderr and len(done.stdout.splitlines()) == 3


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
