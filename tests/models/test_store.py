"""What looks whole is whole, and what is in use stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concertino.errors import ModelCorrupt, ModelError, ModelMissing
from concertino.models import Entry, Store
from concertino.models.pull import Puller

if TYPE_CHECKING:
    from .conftest import Loopback

LEASE = """
import sys, time
from pathlib import Path
from concertino.models import Store
with Store(Path(sys.argv[1])).lease("m"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def pulled(store: Store, entry: Entry) -> Store:
    Puller(store).pull(entry)
    return store


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_model_that_was_not_pulled_is_missing_and_the_error_says_what_to_run(store: Store) -> None:
    with pytest.raises(ModelMissing, match="concertino pull m"):
        store.resolve("m")


def test_a_truncated_blob_is_found_out_at_once(pulled: Store, data: bytes) -> None:
    assert pulled.resolve("m").read_bytes() == data
    rewrite(pulled.resolve("m"), data[:-1])
    with pytest.raises(ModelCorrupt, match="2999999 bytes in place of 3000000"):
        pulled.resolve("m")


def test_a_flipped_byte_is_found_by_reading_all_and_then_never_served_and_pulled_anew(
    pulled: Store, entry: Entry, data: bytes
) -> None:
    rewrite(pulled.resolve("m"), b"\x00" + data[1:] if data[0] else b"\x01" + data[1:])
    pulled.resolve("m")  # the size is right, and that is all the quick check sees
    with pytest.raises(ModelCorrupt, match="concertino pull m"):
        pulled.resolve("m", verify=True)
    with pytest.raises(ModelCorrupt):
        pulled.resolve("m")
    assert Puller(pulled).pull(entry).fetched == ("m.gguf",)
    assert pulled.resolve("m", verify=True).read_bytes() == data
    assert [path.name for path in pulled.blobs.iterdir()] == [f"sha256-{entry.files[0].sha256}"]


def test_pull_itself_notices_a_flipped_byte(pulled: Store, entry: Entry, data: bytes) -> None:
    rewrite(pulled.resolve("m"), bytes([data[0] ^ 1]) + data[1:])
    assert Puller(pulled).pull(entry).fetched == ("m.gguf",)
    assert pulled.resolve("m").read_bytes() == data


def test_a_model_in_use_is_not_removed_until_its_process_dies(pulled: Store) -> None:
    user = subprocess.Popen([sys.executable, "-c", LEASE, str(pulled.root.parent)], stdout=subprocess.PIPE)
    assert user.stdout is not None
    assert user.stdout.readline() == b"held\n"
    with pytest.raises(ModelError, match=f"in use.*{user.pid}"):
        pulled.remove("m")
    assert pulled.holders("m") == (user.pid,)
    assert pulled.resolve("m").is_file()
    user.send_signal(signal.SIGKILL)  # a stale lease must not count
    user.wait()
    user.stdout.close()
    assert pulled.remove("m") == 3_000_000
    assert list(pulled.blobs.iterdir()) == []
    with pytest.raises(ModelMissing), pulled.lease("m"):
        pass


def test_two_leases_live_side_by_side_and_end_with_their_context(pulled: Store) -> None:
    with pulled.lease("m"), pulled.lease("m"):
        assert pulled.holders("m") == (os.getpid(),)
    assert pulled.holders("m") == ()
    pulled.remove("m")


def test_a_blob_that_two_models_share_is_stored_once_and_stays_until_the_last_of_them_goes(
    pulled: Store, entry: Entry, server: "Loopback", data: bytes
) -> None:
    import msgspec

    twin = msgspec.structs.replace(entry, name="twin")
    assert Puller(pulled).pull(twin).fetched == ()
    assert len(server.asked("/m.gguf")) == 1
    assert pulled.remove("m") == 0
    assert pulled.resolve("twin", verify=True).read_bytes() == data
    assert pulled.remove("twin") == len(data)


def test_the_disk_usage_counts_blobs_no_model_names(pulled: Store, data: bytes) -> None:
    assert (pulled.usage().blobs, pulled.usage().unreferenced) == (len(data), 0)
    (pulled.refs / "m.json").unlink()
    assert pulled.usage().unreferenced == len(data)


def test_a_name_that_is_a_path_reaches_nothing_outside(store: Store) -> None:
    with pytest.raises(ModelMissing, match="no model's name"):
        store.resolve("../../etc/passwd")


def test_an_unreadable_manifest_is_corrupt_and_pull_mends_it(pulled: Store, entry: Entry) -> None:
    (pulled.refs / "m.json").write_text('{"name": ')
    with pytest.raises(ModelCorrupt, match="concertino pull m"):
        pulled.resolve("m")
    Puller(pulled).pull(entry)
    assert pulled.resolve("m").is_file()
