"""Who is let in, who is not, and how soon a revoked key is refused."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from concertino.config import GatewaySettings, KeySettings, Settings
from concertino.errors import Unauthenticated
from concertino.gateway import keys
from concertino.gateway.keys import Authenticator, Requirement, is_loopback
from concertino.storage.database import open_database
from concertino.storage.keys import KeyStore, hash_secret
from concertino.types import Principal


def settings(home: Path, host: str = "0.0.0.0", keys: tuple[KeySettings, ...] = ()) -> Settings:
    return Settings(home=str(home), gateway=GatewaySettings(host=host), keys=keys)


async def refused(authenticator: Authenticator, header: str | None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.check(header)
    return caught.value.message


async def test_a_configured_and_a_stored_key_are_both_let_in(tmp_path: Path) -> None:
    chosen = settings(tmp_path, keys=(KeySettings("ops", hash_secret("ck_configured"), "acme"),))
    key, secret = KeyStore(open_database(chosen.state_url)).create("ci", "beta")
    authenticator = Authenticator(chosen)
    assert await authenticator.check("Bearer ck_configured") == Principal("ops", "acme")
    assert await authenticator.check(f"bearer  {secret}") == Principal(key.id, "beta")


@pytest.mark.parametrize(
    "header", ["Bearer ck_wrong", "Bearer", "Basic abc", "ck_wrong", "Bearer \u00e9", "Bearer \ud800"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_wrong_key_is_refused_everywhere_and_not_repeated(tmp_path: Path, host: str, header: str) -> None:
    message = await refused(Authenticator(settings(tmp_path, host)), header)
    assert "ck_wrong" not in message and len(message) > 30


async def test_no_key_is_the_local_user_on_loopback_and_nobody_elsewhere(tmp_path: Path) -> None:
    local, remote = Authenticator(settings(tmp_path, "127.0.0.1")), Authenticator(settings(tmp_path))
    assert local.requirement is Requirement.OPTIONAL and await local.check(None) == Principal("local", "default")
    assert remote.requirement is Requirement.REQUIRED
    assert "concertino keys create" in await refused(remote, None) and await refused(remote, "  ")


async def test_the_placeholder_that_clients_insist_on_is_no_key(tmp_path: Path) -> None:
    local, remote = Authenticator(settings(tmp_path, "127.0.0.1")), Authenticator(settings(tmp_path))
    assert await local.check("Bearer local") == Principal("local", "default")
    assert await refused(remote, "Bearer local")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.4", False), ("localhost.example.org", False), ("", False)],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


async def test_a_key_revoked_by_another_process_is_refused_within_a_second(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    key, secret = KeyStore(open_database(chosen.state_url)).create()
    authenticator = Authenticator(chosen)
    assert (await authenticator.check(f"Bearer {secret}")).key_id == key.id
    code = (
        "import sys, time; from concertino.storage.database import open_database\n"
        "from concertino.storage.keys import KeyStore\n"
        "KeyStore(open_database(sys.argv[1])).revoke(sys.argv[2]); print(time.time())"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, chosen.state_url, key.id],
        capture_output=True,
        text=True,
        check=True,
    )
    revoked = float(done.stdout)
    await asyncio.sleep(max(0.0, revoked + 0.9 - time.time()))
    assert "revoked" in await refused(authenticator, f"Bearer {secret}")


async def test_a_revoked_key_is_refused_within_a_second_under_steady_use(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    store = KeyStore(open_database(chosen.state_url))
    key, secret = store.create()
    authenticator = Authenticator(chosen)
    await authenticator.check(f"Bearer {secret}")
    store.revoke(key.id)
    revoked = time.monotonic()
    while time.monotonic() - revoked < 5:
        try:
            await authenticator.check(f"Bearer {secret}")
        except Unauthenticated:
            break
        await asyncio.sleep(0.01)
    assert time.monotonic() - revoked < 1.0


async def test_a_key_made_after_the_start_is_let_in(tmp_path: Path) -> None:
    chosen, now = settings(tmp_path), 0.0
    authenticator = Authenticator(chosen, clock=lambda: now)
    await refused(authenticator, "Bearer ck_x")
    _, secret = KeyStore(open_database(chosen.state_url)).create()
    now = 0.6
    assert await authenticator.check(f"Bearer {secret}")


async def test_the_database_is_not_read_with_every_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, reads = settings(tmp_path), 0
    _, secret = KeyStore(open_database(chosen.state_url)).create()
    original = KeyStore.list

    def counted(store: KeyStore) -> object:
        nonlocal reads
        reads += 1
        return original(store)

    monkeypatch.setattr(KeyStore, "list", counted)
    authenticator = Authenticator(chosen, clock=lambda: 1.0)
    for _ in range(100):
        await authenticator.check(f"Bearer {secret}")
    assert reads == 1


def damage(home: Path) -> None:
    for file in home.glob("state.db*"):
        file.unlink()
    (home / "state.db").write_bytes(b"garbage that is no database" * 50)


async def test_when_the_database_is_unreadable_its_keys_are_refused_and_configured_ones_are_not(tmp_path: Path) -> None:
    chosen = settings(tmp_path, keys=(KeySettings("ops", hash_secret("ck_configured")),))
    _, secret = KeyStore(open_database(chosen.state_url)).create()
    now = 0.0
    authenticator = Authenticator(chosen, clock=lambda: now)
    await authenticator.check(f"Bearer {secret}")
    damage(tmp_path)
    now = 1.0
    assert "cannot be read" in await refused(authenticator, f"Bearer {secret}")
    assert (await authenticator.check("Bearer ck_configured")).key_id == "ops"


async def test_a_gateway_behind_a_proxy_can_ask_for_keys_on_loopback(tmp_path: Path) -> None:
    strict = Settings(home=str(tmp_path), gateway=GatewaySettings(require_key=True))
    assert "needs an API key" in await refused(Authenticator(strict), None)


async def test_others_are_served_while_the_database_is_read_and_one_that_does_not_answer_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(tmp_path, keys=(KeySettings("ops", hash_secret("ck_configured"), "acme"),))
    _, secret = KeyStore(open_database(chosen.state_url)).create("ci", "beta")
    authenticator, answers = Authenticator(chosen, refresh_s=0.0), threading.Event()
    assert (await authenticator.check(f"Bearer {secret}")).tenant == "beta"
    read = KeyStore.list

    def slow(self: KeyStore) -> Any:
        answers.wait(20)
        return read(self)

    monkeypatch.setattr(KeyStore, "list", slow)
    monkeypatch.setattr(keys, "_PATIENCE_S", 0.3)
    asking = [asyncio.ensure_future(authenticator.check(f"Bearer {secret}")) for _ in range(3)]
    began = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - began < 5.0, "the event loop goes on"
    assert (await authenticator.check("Bearer ck_configured")).key_id == "ops"
    for refusal in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(refusal, Unauthenticated)
        assert "it does not answer" in refusal.message
    began = time.monotonic()
    assert (await authenticator.check("Bearer ck_configured")).key_id == "ops"
    assert time.monotonic() - began < 0.2, "it is waited for once"
    (reading,) = [thread for thread in threading.enumerate() if thread.name.startswith("concertino-keys")]
    assert reading.daemon, "a process can end while its database does not answer"
    answers.set()
    for _ in range(100):
        with contextlib.suppress(Unauthenticated):
            assert (await authenticator.check(f"Bearer {secret}")).tenant == "beta"
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the key is never let in again")


async def test_a_key_that_was_revoked_is_refused_at_the_next_read(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    store = KeyStore(open_database(chosen.state_url))
    key, secret = store.create("ci", "beta")
    authenticator = Authenticator(chosen, refresh_s=0.0)
    assert (await authenticator.check(f"Bearer {secret}")).key_id == key.id
    store.revoke(key.id)
    with pytest.raises(Unauthenticated, match="revoked"):
        await authenticator.check(f"Bearer {secret}")
