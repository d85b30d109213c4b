"""API keys at rest: made once, never readable again, on a database that brings itself up to date."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from concertino.cli.keys import app
from concertino.errors import ConfigurationError, InvalidRequest, NotFound
from concertino.storage import database
from concertino.storage.database import open_database
from concertino.storage.keys import KeyStore, hash_secret, new_secret


def url(path: Path) -> str:
    return f"sqlite:///{path / 'state.db'}"


def test_a_secret_is_256_random_bits_in_base_62() -> None:
    made = {new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(len(secret) == 46 and secret.startswith("ck_") and secret[3:].isalnum() for secret in made)


def test_a_dump_of_the_database_holds_no_usable_key(tmp_path: Path) -> None:
    store = KeyStore(open_database(url(tmp_path)))
    secrets = [store.create(f"key {number}", "acme")[1] for number in range(5)]
    with sqlite3.connect(tmp_path / "state.db") as connection:
        dump = "\n".join(connection.iterdump())
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in secrets:
        assert hash_secret(secret) in dump
        assert secret not in dump and secret[3:] not in dump
        assert secret[3:].encode() not in raw
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


def test_a_key_is_found_by_hash_and_stays_revoked(tmp_path: Path) -> None:
    store = KeyStore(open_database(url(tmp_path)))
    key, secret = store.create("ci", "acme")
    assert store.find(hash_secret(secret)) == key and key.last4 == secret[-4:]
    first = store.revoke(key.id)
    assert first.revoked is not None and store.revoke(key.id).revoked == first.revoked
    assert [item.id for item in store.list()] == [key.id]
    with pytest.raises(NotFound, match="keys list"):
        store.revoke("key_none")
    with pytest.raises(InvalidRequest):
        store.create("x", "")


def test_an_up_to_date_database_opens_without_alembic(tmp_path: Path) -> None:
    open_database(url(tmp_path))
    code = (
        "import sys; from concertino.storage.database import open_database\n"
        "from concertino.storage.keys import KeyStore\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "KeyStore(open_database(sys.argv[1])).create(); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, url(tmp_path)], check=True, timeout=60)


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    settings = Config()
    settings.set_main_option("script_location", str(database._MIGRATIONS))
    assert ScriptDirectory.from_config(settings).get_heads() == [database.HEAD]


def test_processes_that_open_a_new_database_together_all_succeed(tmp_path: Path) -> None:
    code = "import sys; from concertino.storage.database import open_database; open_database(sys.argv[1])"

    def start(_: int) -> int:
        return subprocess.run([sys.executable, "-c", code, url(tmp_path)], timeout=120).returncode

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(start, range(3))) == [0, 0, 0]


def test_a_database_that_cannot_be_opened_names_the_setting_and_no_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="database_url"):
        open_database("no url at all")
    with pytest.raises(ConfigurationError) as caught:
        open_database("nosuchdialect://user:hunter2@db/x")
    assert "hunter2" not in caught.value.message
    (tmp_path / "state.db").write_bytes(b"garbage that is no database" * 50)
    with pytest.raises(ConfigurationError, match="not a database"):
        open_database(url(tmp_path))


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_database(url(tmp_path))
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer Concertino"):
        open_database(url(tmp_path))


def test_the_commands_show_a_secret_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    os.environ.pop("CONCERTINO_CONFIG", None)
    runner = CliRunner()
    made = runner.invoke(app, ["create", "--name", "ci", "--tenant", "acme"])
    secret = made.stdout.strip()
    assert secret.startswith("ck_") and secret not in made.stderr
    listed = runner.invoke(app, ["list", "--json"]).stdout
    assert secret not in listed and hash_secret(secret) not in listed
    key_id = KeyStore(open_database(url(tmp_path))).list()[0].id
    assert runner.invoke(app, ["revoke", key_id]).exit_code == 0
    printed = runner.invoke(app, ["create", "--print-config"])
    assert hash_secret(printed.stdout.strip()) in printed.stderr
    assert len(KeyStore(open_database(url(tmp_path))).list()) == 1


def test_the_commands_print_json_without_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path))
    runner = CliRunner()
    made = json.loads(runner.invoke(app, ["create", "--json", "--tenant", "acme"]).stdout)
    assert made["tenant"] == "acme"
    found = KeyStore(open_database(url(tmp_path))).find(hash_secret(made["secret"]))
    assert found is not None
    gone = json.loads(runner.invoke(app, ["revoke", made["id"], "--json"]).stdout)
    assert gone["revoked"] is not None
    assert "sha256" not in made.keys() | gone.keys()
