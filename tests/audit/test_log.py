"""What stands in the log, what never does, and what reading it tells."""

import os
import random
import secrets
import sqlite3
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from concertino.audit import AuditLog, AuditReader, Begin, ChainState, End
from concertino.cli.audit import app
from concertino.errors import AuditUnavailable, InvalidRequest, NotFound
from concertino.types import Decision, Facts, FinishReason, Outcome, Principal, Tier, Usage, Verdict

DECISION = Decision("legal", 0.93, Tier.LINEAR, "the linear head was sure", verdict=Verdict(("legal", "general")))


async def write(path: Path, *ids: str, ended: bool = True, keep_text: bool = False) -> None:
    log = AuditLog(path, keep_text=keep_text)
    for name in ids:
        await log.begin(
            Begin(name, Principal("key_1", "acme"), "auto", b"the question", DECISION, model_hashes={"m": "ab"})
        )
        if ended:
            await log.end(
                End(name, Outcome.COMPLETED, Usage(7, 5), FinishReason.STOP, None, 1.25, 0.2, output=b"the answer")
            )
    log.close()


async def test_both_records_hold_what_the_manual_says(tmp_path: Path) -> None:
    await write(tmp_path / "audit.db", "req_1")
    entry = AuditReader(tmp_path / "audit.db").show("req_1")
    assert entry.end is not None
    assert set(entry.begin) == {
        "kind", "seq", "id", "time", "key_id", "tenant", "model", "decision", "verdict", "model_hashes",
        "content_digest", "content_bytes",
    }  # fmt: skip
    assert set(entry.end) == {
        "kind", "seq", "id", "time", "outcome", "answered_by", "usage", "finish_reason", "error_code", "duration_s",
        "first_token_s", "output_digest", "output_bytes", "sources",
    }  # fmt: skip
    assert entry.begin["decision"]["specialist"] == "legal"
    assert entry.end["usage"]["completion_tokens"] == 5
    assert entry.outcome == "completed"


def stored_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("audit.db*"))


async def test_no_planted_secret_stands_in_the_bytes_of_the_log(tmp_path: Path) -> None:
    planted = [f"secret-{secrets.token_hex(8)}" for _ in range(20)]
    log = AuditLog(tmp_path / "audit.db")
    for number, value in enumerate(planted):
        content = f"my password is {value}".encode()
        await log.begin(Begin(f"r{number}", Principal(), value, content, verdict=Verdict((), {"x": "no"}, Facts("t"))))
        # An error message that quotes the caller, handed over where a code belongs.
        await log.end(End(f"r{number}", Outcome.FAILED, error_code=f"cannot read '{value}'", output=content))
    log.close()
    stored = stored_bytes(tmp_path)
    assert b"r19" in stored
    assert not [value for value in planted if value.encode() in stored]
    assert (tmp_path / "audit.key").read_bytes() not in stored


async def test_the_text_is_kept_where_the_settings_say_so(tmp_path: Path) -> None:
    await write(tmp_path / "audit.db", "req_1", keep_text=True)
    entry = AuditReader(tmp_path / "audit.db").show("req_1")
    assert entry.begin["content"] == "the question"
    assert entry.end is not None and entry.end["output"] == "the answer"


async def test_equal_contents_have_equal_digests_under_one_key_only(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        await write(tmp_path / folder / "audit.db", "r1", "r2")
    digests = [
        [entry.begin["content_digest"] for entry in AuditReader(tmp_path / folder / "audit.db").tail()]
        for folder in "ab"
    ]
    assert digests[0][0] == digests[0][1] != digests[1][0]


async def test_the_digest_key_is_its_owners_alone(tmp_path: Path) -> None:
    await write(tmp_path / "audit.db", "r1")
    key = tmp_path / "audit.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "audit.db").stat().st_mode) == 0o600
    key.chmod(0o644)
    with pytest.raises(AuditUnavailable, match="chmod 600"):
        await AuditLog(tmp_path / "audit.db").begin(Begin("r2", Principal(), "auto", b""))


async def test_a_request_that_never_ended_is_shown_as_unfinished(tmp_path: Path) -> None:
    await write(tmp_path / "audit.db", "req_1", ended=False)
    reader = AuditReader(tmp_path / "audit.db")
    assert reader.tail()[0].outcome == "unfinished"
    assert reader.verify().unfinished == 1


async def test_the_model_asked_for_is_in_clear_only_where_it_is_a_name_of_the_team(tmp_path: Path) -> None:
    log, names = AuditLog(tmp_path / "audit.db"), frozenset({"legal", "legal/clause-type"})
    for model in ("legal/clause-type", "legal/other", "Jane Doe"):
        await log.begin(Begin(model, Principal(), model, b"", names=names))
    log.close()
    said = [entry.begin["model"] for entry in AuditReader(tmp_path / "audit.db").tail()]
    assert said[0] == "legal/clause-type"
    assert all(model.startswith("hmac-sha256:") for model in said[1:])


REPLACING = "INTO records SELECT {}, {}, {}, body, hash FROM records WHERE seq = 1"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET kind = 'end'",
        "UPDATE OR REPLACE records SET seq = 2 WHERE seq = 1",
        "DELETE FROM records",
        "INSERT OR REPLACE " + REPLACING.format("2", "'other'", "kind"),
        "REPLACE " + REPLACING.format("99", "request_id", "'end'"),
        "INSERT " + REPLACING.format("2", "'other'", "kind") + " ON CONFLICT DO UPDATE SET kind = 'begin'",
    ],
)
@pytest.mark.parametrize("made", ["now", "before there was a trigger for it"])
async def test_the_database_itself_refuses_change(tmp_path: Path, statement: str, made: str) -> None:
    await write(tmp_path / "audit.db", "req_1")
    if made != "now":
        with sqlite3.connect(tmp_path / "audit.db") as connection:
            connection.execute("DROP TRIGGER IF EXISTS records_no_replace")
        await write(tmp_path / "audit.db", "req_2")
    with (
        sqlite3.connect(tmp_path / "audit.db") as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)


@pytest.mark.parametrize(
    ("tamper", "bad"),
    [
        ("UPDATE records SET body = replace(body, 'acme', 'evil') WHERE seq = 3", 3),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 4", 4),
        ("UPDATE records SET request_id = 'other' WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 2", 2),
        ("DELETE FROM records WHERE seq = 1", 1),
        ("UPDATE records SET seq = CASE seq WHEN 3 THEN -4 WHEN 5 THEN 3 END WHERE seq IN (3, 5); "
         "UPDATE records SET seq = 5 WHERE seq = -4", 3),
    ],
)  # fmt: skip
async def test_verify_names_the_first_bad_record(tmp_path: Path, tamper: str, bad: int) -> None:
    path = tmp_path / "audit.db"
    await write(path, "a", "b", "c", "d")
    with sqlite3.connect(path) as connection:
        connection.executescript(f"DROP TRIGGER records_no_update; DROP TRIGGER records_no_delete; {tamper}")
    result = AuditReader(path).verify()
    assert (result.state, result.bad_seq) == (ChainState.BROKEN, bad)
    assert result.reason and result.records == bad - 1


async def test_flipped_bits_in_a_stored_record_are_found(tmp_path: Path) -> None:
    path, pick = tmp_path / "audit.db", random.Random(3)
    await write(path, *(f"r{number}" for number in range(10)))
    for _ in range(100):
        seq = pick.randint(1, 20)
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TRIGGER IF EXISTS records_no_update")
            body = connection.execute("SELECT body FROM records WHERE seq = ?", (seq,)).fetchone()[0]
            flipped = bytearray(body)
            flipped[pick.randrange(len(body))] ^= 1 << pick.randrange(8)
            connection.execute("UPDATE records SET body = ? WHERE seq = ?", (bytes(flipped), seq))
        assert AuditReader(path).verify().bad_seq == seq
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE records SET body = ? WHERE seq = ?", (body, seq))
    assert AuditReader(path).verify().state is ChainState.INTACT


async def test_a_request_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    await write(tmp_path / "audit.db", "req_abc", "req_abd", "req_x%")
    reader = AuditReader(tmp_path / "audit.db")
    assert reader.show("req_x").id == "req_x%"
    with pytest.raises(InvalidRequest, match="req_abc, req_abd"):
        reader.show("req_ab")
    for unknown in ("%", "", "nope"):
        with pytest.raises((NotFound, InvalidRequest)):
            reader.show(unknown)


async def test_reading_works_beside_a_writer(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.db")
    await log.begin(Begin("r1", Principal(), "auto", b""))
    assert [entry.id for entry in AuditReader(tmp_path / "audit.db").tail()] == ["r1"]
    await log.end(End("r1", Outcome.CANCELLED))
    assert AuditReader(tmp_path / "audit.db").tail()[0].outcome == "cancelled"
    log.close()


async def test_the_commands_read_the_log_of_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    os.environ.pop("CONCERTINO_CONFIG", None)
    await write(tmp_path / "audit.db", "req_1", "req_2")
    runner = CliRunner()
    table = runner.invoke(app, ["tail", "-n", "1"])
    assert "req_2" in table.stdout and "req_1" not in table.stdout and "\x1b[" not in table.stdout
    assert runner.invoke(app, ["tail", "--json"]).stdout.count("\n") == 2
    assert "completed" in runner.invoke(app, ["show", "req_1"]).stdout
    assert "intact: 4 records" in runner.invoke(app, ["verify"]).stdout
    with sqlite3.connect(tmp_path / "audit.db") as connection:
        connection.executescript("DROP TRIGGER records_no_update; UPDATE records SET body = '{}' WHERE seq = 2")
    broken = runner.invoke(app, ["verify"])
    assert broken.exit_code == 1 and "BROKEN at record 2" in broken.stdout
