"""Pulling survives kills, bad sources, a second process and a full disk."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from concertino.errors import DiskFull, ModelError, ModelMissing, PullFailed
from concertino.models import Entry, Store
from concertino.models.catalogue import HuggingFaceSource, LocalSource, UrlSource
from concertino.models.pull import Puller
from concertino.models.sources import Stage

from .conftest import Notes, make_entry, pull_elsewhere, write_catalogue

HALF = 1_500_000


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def parts(store: Store) -> int:
    return sum(path.stat().st_size for path in (store.root / "partial").rglob("*.part"))


def test_a_pull_brings_the_bytes_reports_its_progress_and_leaves_nothing_behind(
    store: Store, entry: Entry, data: bytes
) -> None:
    notes = Notes()
    assert Puller(store, notes).pull(entry).fetched == ("m.gguf",)
    assert store.resolve("m").read_bytes() == data
    assert store.require("m").files["m.gguf"].origin == entry.files[0].sources[0].label
    shown = [step.done for step in notes.steps if step.stage is Stage.DOWNLOADING]
    assert shown == sorted(shown) and shown[-1] == len(data)
    assert not store.partial("m").exists()


def test_what_is_here_is_not_fetched_again(store: Store, entry: Entry, server: Any) -> None:
    Puller(store).pull(entry)
    assert Puller(store).pull(entry).fetched == ()
    assert len(server.requests) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_was_killed_goes_on_from_what_has_arrived(
    how: signal.Signals, home: Path, store: Store, entry: Entry, server: Any, data: bytes
) -> None:
    server.stall["/m.gguf"] = HALF
    process = pull_elsewhere(home, entry)
    until(lambda: parts(store) >= HALF)
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode != 0
    with pytest.raises(ModelMissing):
        store.resolve("m")
    server.go.set()
    Puller(store).pull(entry)
    assert store.resolve("m").read_bytes() == data
    assert server.asked("/m.gguf")[1]["Range"] == f"bytes={HALF}-"
    assert server.asked("/m.gguf")[1]["If-Range"] == '"one"'


def test_a_download_whose_file_changed_meanwhile_starts_afresh(
    store: Store, entry: Entry, server: Any, data: bytes
) -> None:
    server.files["/m.gguf"] = bytes(len(data))
    server.cut["/m.gguf"] = HALF
    with pytest.raises(PullFailed, match="the connection broke after 1500000 of 3000000 bytes"):
        Puller(store).pull(entry)
    server.files["/m.gguf"], server.tags["/m.gguf"] = data, '"two"'
    Puller(store).pull(entry)
    assert store.resolve("m").read_bytes() == data
    assert len(server.asked("/m.gguf")) == 2


def test_a_kept_part_that_went_bad_costs_one_fresh_download_and_not_the_source(
    store: Store, entry: Entry, server: Any, data: bytes
) -> None:
    server.cut["/m.gguf"] = HALF
    with pytest.raises(PullFailed):
        Puller(store).pull(entry)
    (part,) = store.partial("m").glob("*.part")
    part.write_bytes(bytes(HALF))
    Puller(store).pull(entry)
    assert store.resolve("m").read_bytes() == data


def test_wrong_bytes_reject_the_source_and_the_next_one_is_tried(store: Store, server: Any, data: bytes) -> None:
    server.files |= {"/flipped": data[:-1] + bytes([data[-1] ^ 1]), "/long": data + b"x", "/short": data[:-1]}
    server.files["/right"] = data
    sources = tuple(UrlSource(server.url + path) for path in ("/flipped", "/long", "/short", "/right"))
    notes = Notes()
    Puller(store, notes).pull(make_entry("m", {"m.gguf": (data, sources)}))
    assert store.resolve("m").read_bytes() == data
    assert [sentence.split("/")[-1].split(":")[0] for sentence in notes.notes] == ["flipped", "long", "short"]
    assert "rejected" in notes.notes[0]
    assert "sent more than the 3000000 bytes" in notes.notes[1]
    assert store.require("m").files["m.gguf"].origin.endswith("/right")


def test_when_no_source_is_left_the_error_lists_what_each_of_them_said(
    store: Store, server: Any, data: bytes, tmp_path: Path
) -> None:
    server.files["/flipped"] = bytes(len(data))
    sources = (
        UrlSource(f"{server.url}/absent"),
        UrlSource(f"{server.url}/flipped"),
        LocalSource(str(tmp_path / "nowhere")),
    )
    with pytest.raises(PullFailed) as caught:
        Puller(store).pull(make_entry("m", {"m.gguf": (data, sources)}))
    message = caught.value.message
    assert "answers 404" in message and "rejected" in message and "No such file" in message
    with pytest.raises(ModelMissing):
        store.resolve("m")
    assert not store.blobs.exists() or not list(store.blobs.iterdir())


def test_a_host_that_does_not_answer_is_tried_once_in_a_pull(store: Store, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(data)
    (tmp_path / "more").write_bytes(data[:9])
    dead = UrlSource("http://127.0.0.1:9/m")
    notes = Notes()
    files = {
        "a.gguf": (data, (dead, LocalSource(str(tmp_path / "copy")))),
        "b.json": (data[:9], (dead, LocalSource(str(tmp_path / "more")))),
    }
    Puller(store, notes).pull(make_entry("m", files))
    assert "cannot be reached" in notes.notes[0]
    assert "did not answer earlier in this pull" in notes.notes[1]
    assert store.resolve("m", "b.json").read_bytes() == data[:9]


def test_two_processes_at_once_fetch_once(home: Path, store: Store, entry: Entry, server: Any) -> None:
    server.stall["/m.gguf"] = HALF
    first = pull_elsewhere(home, entry)
    until(lambda: parts(store) >= HALF)
    second = pull_elsewhere(home, entry)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1.5)
    server.go.set()
    assert first.communicate(timeout=20)[0] == "('m.gguf',)\n"
    assert second.communicate(timeout=20)[0] == "()\n"
    assert len(server.requests) == 1


def test_hugging_face_files_come_from_their_revision_and_the_token_stays_with_the_endpoint(
    store: Store, server: Any, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.redirects["/o/n/resolve/abc/f.gguf"] = f"{elsewhere}/cdn"
    server.files["/cdn"] = data
    Puller(store).pull(make_entry("m", {"f.gguf": (data, (HuggingFaceSource("o/n", "f.gguf", "abc"),))}))
    assert store.resolve("m").read_bytes() == data
    assert server.asked("/o/n/resolve/abc/f.gguf")[0]["Authorization"] == "Bearer hf_secret"
    assert "Authorization" not in server.asked("/cdn")[0]


def test_a_redirect_to_plain_http_elsewhere_is_not_followed(store: Store, server: Any, data: bytes) -> None:
    server.redirects["/m"] = "http://192.0.2.1/m"
    began = time.monotonic()
    with pytest.raises(PullFailed, match="only https is allowed"):
        Puller(store).pull(make_entry("m", {"m.gguf": (data, (UrlSource(f"{server.url}/m"),))}))
    assert time.monotonic() - began < 2


def test_a_file_larger_than_the_system_lets_us_write_is_a_full_disk_and_leaves_nothing(
    home: Path, store: Store, entry: Entry
) -> None:
    process = pull_elsewhere(home, entry, largest_file=1_000_000)
    _, said = process.communicate(timeout=20)
    assert "DiskFull" in said and "3.0 MB" in said and str(store.root) in said
    assert not store.blobs.exists()
    assert parts(store) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB. Needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_refused_before_a_byte_is_fetched(small_disk: Path, server: Any) -> None:
    data = bytes(12_000_000)
    server.files["/m.gguf"] = data
    store = Store(small_disk)
    with pytest.raises(DiskFull, match=r"12\.0 MB.*CONCERTINO_HOME") as caught:
        Puller(store).pull(make_entry("m", {"m.gguf": (data, (UrlSource(f"{server.url}/m.gguf"),))}))
    assert caught.value.status == 507
    assert str(small_disk) in caught.value.message
    assert server.requests == []


def test_a_disk_that_fills_up_on_the_way_gives_the_room_back(
    small_disk: Path, entry: Entry, server: Any, data: bytes
) -> None:
    def fill() -> None:
        with pytest.raises(OSError, match="No space"), (small_disk / "others").open("wb") as other:
            while True:
                other.write(bytes(100_000))
        server.go.set()

    server.stall["/m.gguf"], server.at_stall = HALF, fill
    store = Store(small_disk)
    with pytest.raises(DiskFull):
        Puller(store).pull(entry)
    assert not store.blobs.exists()
    assert parts(store) == 0
    (small_disk / "others").unlink()
    Puller(store).pull(entry)
    assert store.resolve("m").read_bytes() == data


def test_a_home_that_cannot_be_written_is_named(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"Cannot pull 'm' into .*file/models.*CONCERTINO_HOME"):
        Puller(Store(tmp_path / "file")).pull(entry)


def test_a_model_whose_entry_changed_is_pulled_again(store: Store, entry: Entry, server: Any, data: bytes) -> None:
    Puller(store).pull(entry)
    server.files["/new"] = data[::-1]
    changed = make_entry("m", {"m.gguf": (data[::-1], (UrlSource(f"{server.url}/new"),))})
    assert Puller(store).pull(changed).fetched == ("m.gguf",)
    assert store.resolve("m").read_bytes() == data[::-1]


def test_the_catalogue_written_for_other_processes_is_the_entry(home: Path, entry: Entry) -> None:
    from concertino.models import load_catalogue

    write_catalogue(home / "catalogue.yaml", entry)
    assert load_catalogue(home).entry("m") == entry
