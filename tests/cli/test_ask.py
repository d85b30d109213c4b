"""`concertino ask`, through a gateway and without one."""

import http.server
import json
import signal
import subprocess
import threading
import time

import pytest

from tests.cli.conftest import Command, Gateway


def assert_is_whole(told: dict[str, object]) -> None:
    assert told["answer"] == "Is a contract binding?" and told["specialist"] == "legal"
    decision, usage = told["decision"], told["usage"]
    assert isinstance(decision, dict) and isinstance(usage, dict)
    assert decision["tier"] == "linear" and decision["reason"] == "A keyword of legal."
    assert usage["prompt_tokens"] == 4 and usage["completion_tokens"] == 4 and usage["total_tokens"] == 8


def test_the_answer_goes_to_stdout_and_nothing_else_does(concertino: Command) -> None:
    done = concertino("ask", "Is a contract binding?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Is a contract binding?\n", "")


def test_an_explanation_goes_to_stderr(concertino: Command) -> None:
    done = concertino("ask", "--explain", "Is a contract binding?")
    assert done.stdout == "Is a contract binding?\n"
    for part in ("legal answers", "0.80", "linear", "A keyword of legal.", "general 0.05", "4 prompt tokens"):
        assert part in done.stderr


def test_json_is_one_object_in_process(concertino: Command) -> None:
    assert_is_whole(json.loads(concertino("ask", "--json", "Is a contract binding?").stdout))


def test_json_is_the_same_object_through_a_gateway(concertino: Command, gateway: Gateway) -> None:
    done = concertino("ask", "--json", "Is a contract binding?")
    assert done.returncode == 0, done.stderr
    through = json.loads(done.stdout)
    assert_is_whole(through)
    inside = json.loads(concertino("ask", "--json", "--no-gateway", "Is a contract binding?").stdout)
    assert through.pop("id") != inside.pop("id")
    assert through == inside


def test_a_running_gateway_is_the_one_that_answers(concertino: Command, gateway: Gateway) -> None:
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            concertino("ask", "hello", timeout=3)
        assert concertino("ask", "--no-gateway", "hello").stdout == "hello\n"
    finally:
        gateway.process.send_signal(signal.SIGCONT)


def test_a_skill_tells_its_confidence_both_ways(concertino: Command, gateway: Gateway) -> None:
    for more in ([], ["--no-gateway"]):
        told = json.loads(concertino("ask", "-m", "legal/clause-type", "--json", "audit rights, mostly", *more).stdout)
        assert told["answer"] == "audit rights" and told["confidence"] == 1.0 and told["abstained"] is False
        assert told["decision"]["skill"] == "clause-type"


def test_an_abstention_is_said(concertino: Command) -> None:
    concertino.config.write_text(concertino.config.read_text().replace("threshold: 0.5", "threshold: 1.1"))
    done = concertino("ask", "-m", "legal/clause-type", "liability")
    assert done.stdout == "liability\n" and "Abstained" in done.stderr


def test_a_dash_reads_stdin_whole(concertino: Command) -> None:
    text = "first line\nsecond \u2028 line, \U0001f600"
    done = concertino("ask", "-", stdin=text)
    assert done.stdout == text + "\n"


@pytest.mark.parametrize("given", [b"", b"  \n", b"\xff\xfe\x00"])
def test_no_text_or_no_utf8_is_refused_in_a_sentence(concertino: Command, given: bytes) -> None:
    done = concertino("ask", "-", stdin=given)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["-5 + 3 = ?", "\x1b]0;title\x07", "a" * 5000, "\udcff broken"])
def test_odd_texts_are_answered(concertino: Command, text: str) -> None:
    done = concertino("ask", "--json", "--", text)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == text.encode("utf-8", "replace").decode()


def test_a_text_far_too_long_is_refused_both_ways(concertino: Command, gateway: Gateway) -> None:
    for more in ([], ["--no-gateway"]):
        done = concertino("ask", "-", *more, stdin="word " * 200_000)
        assert done.returncode == 1 and "Shorten" in done.stderr


def test_parameters_reach_the_engine(concertino: Command, gateway: Gateway) -> None:
    for more in ([], ["--no-gateway"]):
        done = concertino("ask", "one two three", "--max-tokens", "2", *more)
        assert done.stdout.split() == ["one", "two"] and "Cut off after 2 tokens" in done.stderr


def test_an_unknown_model_is_named_with_the_nearest_both_ways(concertino: Command, gateway: Gateway) -> None:
    for more in ([], ["--no-gateway"]):
        done = concertino("ask", "-m", "legl", "x", *more)
        assert done.returncode == 2 and "'legal'" in done.stderr and done.stdout == ""


def test_policy_refuses_with_a_status_of_its_own(concertino: Command, gateway: Gateway) -> None:
    text = "Patient John Smith, SSN 078-05-1120, MRN 12345678, diagnosed with diabetes and HIV."
    for more in ([], ["--no-gateway"]):
        done = concertino("ask", "-m", "code", text, *more)
        assert done.returncode == 5 and done.stdout == "", done.stderr


def test_no_gateway_at_a_url_is_said(concertino: Command) -> None:
    done = concertino("ask", "--url", "http://127.0.0.1:9", "x")
    assert done.returncode == 6 and "concertino up" in done.stderr


def test_a_wrong_key_is_refused_with_status_5(concertino: Command, gateway: Gateway) -> None:
    assert concertino("ask", "x", "--api-key", "ck_wrong").returncode == 5
    assert concertino("ask", "x", CONCERTINO_API_KEY="ck_wrong").returncode == 5


def test_something_else_at_the_url_is_not_taken_for_a_gateway(concertino: Command) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        done = concertino("ask", "--url", f"http://127.0.0.1:{other.server_port}", "x")
        other.shutdown()
    assert done.returncode == 6 and "not as a Concertino gateway" in done.stderr


def test_models_that_are_not_pulled_are_named_with_the_command(concertino: Command) -> None:
    concertino.config.write_text("router: {type: keywords}\n")
    done = concertino("ask", "hello")
    assert done.returncode == 4 and "concertino pull" in done.stderr and "qwen" in done.stderr


def test_the_answer_streams(concertino: Command) -> None:
    concertino.write_config(delay_s=0.4)
    process = concertino.start("ask", "one two three four five")
    assert process.stdout is not None
    first = process.stdout.read(3)
    assert first == "one" and process.poll() is None
    process.communicate(timeout=30)


def test_ctrl_c_ends_it_at_once_without_a_traceback(concertino: Command) -> None:
    concertino.write_config(delay_s=1.0)
    process = concertino.start("ask", "one " * 60)
    assert process.stdout is not None
    process.stdout.read(3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in said and time.monotonic() - began < 5


def test_a_reader_that_goes_away_is_not_blamed_on_the_gateway(concertino: Command, gateway: Gateway) -> None:
    text = "word " * 3000
    command = f"{concertino.script} ask --url {gateway.url} '{text}' | head -c 5; echo \" ${{PIPESTATUS[0]}}\""
    done = subprocess.run(
        ["bash", "-c", command], env=concertino.environment, cwd=concertino.folder, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "141" and done.stderr == ""
