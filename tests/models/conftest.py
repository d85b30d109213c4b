"""A loopback server with ranges and faults, wheels made on the fly, and small models made of random bytes."""

import hashlib
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from concertino.models import Entry, Store
from concertino.models.catalogue import Format, ModelFile, Source, UrlSource
from concertino.models.sources import Step


class Loopback:
    """Serves `files` by path. `stall_after` bytes of a body it waits for `go`; `at_stall` runs first."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stall: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        self.at_stall: Callable[[], None] = lambda: None
        self.go = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def asked(self, path: str) -> list[dict[str, str]]:
        return [headers for seen, headers in self.requests if seen == path]

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                if self.path in outer.redirects:
                    self.send_response(302)
                    self.send_header("Location", outer.redirects[self.path])
                    self.end_headers()
                    return
                body = outer.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                tag = outer.tags.get(self.path, '"one"')
                start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
                if self.headers.get("If-Range", tag) != tag:
                    start = 0
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                kind = "text/html" if self.path.endswith(".html") else "application/octet-stream"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) - start))
                self.send_header("ETag", tag)
                self.end_headers()
                self._send(body, start)

            def _send(self, body: bytes, start: int) -> None:
                pause = outer.cut.pop(self.path, None)
                stalled = pause is None and not outer.go.is_set() and self.path in outer.stall
                if stalled:
                    pause = outer.stall[self.path]
                try:
                    self.wfile.write(body[start:pause])
                    self.wfile.flush()
                    if stalled:
                        outer.at_stall()
                        outer.go.wait(60)
                        self.wfile.write(body[pause:])
                except OSError:
                    pass  # whoever asked is gone; that is what some tests are about

        return Handler


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.notes: list[str] = []

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_entry(name: str, files: Mapping[str, tuple[bytes, Sequence[Source]]]) -> Entry:
    return Entry(
        name=name,
        publisher="the tests",
        licence="Apache-2.0",
        licence_url="https://example.org/licence",
        parameters="1",
        quantisation="F16",
        format=Format.GGUF,
        context_tokens=8,
        files=tuple(ModelFile(file, len(data), sha(data), tuple(sources)) for file, (data, sources) in files.items()),
    )


def make_wheel(folder: Path, name: str, version: str, members: dict[str, bytes]) -> Path:
    """A valid pure-Python wheel with the members given."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


PULL = """
import resource, sys
from pathlib import Path
from concertino.models import Store, load_catalogue
from concertino.models.pull import Puller
home = Path(sys.argv[1])
if int(sys.argv[3]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
print(Puller(Store(home)).pull(load_catalogue(home).entry(sys.argv[2])).fetched, flush=True)
"""


def pull_elsewhere(home: Path, entry: Entry, largest_file: int = 0) -> "subprocess.Popen[str]":
    """Pull in another process; `home` gets a catalogue with the entry in it. `largest_file` is its RLIMIT_FSIZE."""
    write_catalogue(home / "catalogue.yaml", entry)
    command = [sys.executable, "-c", PULL, str(home), entry.name, str(largest_file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def write_catalogue(path: Path, *entries: Entry) -> None:
    import msgspec

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.yaml.encode({"models": entries}))


@pytest.fixture
def data() -> bytes:
    return random.Random(7).randbytes(3_000_000)


@pytest.fixture
def server() -> Iterator[Loopback]:
    loopback = Loopback()
    yield loopback
    loopback.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, with pip cut off from every index."""
    for name in ("CONCERTINO_CATALOGUE", "CONCERTINO_CONFIG", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONCERTINO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "links").mkdir()
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def entry(server: Loopback, data: bytes) -> Entry:
    """A model of one file that the loopback server has."""
    server.files["/m.gguf"] = data
    return make_entry("m", {"m.gguf": (data, (UrlSource(f"{server.url}/m.gguf"),))})
