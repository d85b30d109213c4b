"""Downloads over HTTP, continued where an earlier attempt stopped (RFC 9110, sections 13.1.5 and 14)."""

import asyncio
import os
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import aiohttp

from concertino.models.catalogue import HuggingFaceSource, UrlSource, permitted
from concertino.models.sources.base import Job, SourceFailed, Stage
from concertino.models.sources.sink import BLOCK, Sink

CONNECT_TIMEOUT_S = 5.0
"""Name lookup, TCP and TLS together. A host that needs longer will not deliver a gigabyte either."""
SILENCE_TIMEOUT_S = 60.0
MAX_REDIRECTS = 5
HUGGING_FACE = "https://huggingface.co"


def fetch_huggingface(source: HuggingFaceSource, job: Job, part: Path) -> str:
    """Download a repository's file; HF_ENDPOINT and HF_TOKEN are honoured as Hugging Face's own tools do."""
    endpoint = os.environ.get("HF_ENDPOINT", HUGGING_FACE).rstrip("/")
    url = f"{endpoint}/{source.repo}/resolve/{quote(source.revision)}/{quote(source.path)}"
    token = os.environ.get("HF_TOKEN", "")
    return fetch_url(UrlSource(url), job, part, token=token)


def fetch_url(source: UrlSource, job: Job, part: Path, *, token: str = "") -> str:
    """Download to `part`, or go on with what is there; returns the SHA-256 of the whole part."""
    if not permitted(source.url):
        raise SourceFailed("only https is allowed, or http to this very machine")
    have = part.stat().st_size if part.exists() else 0
    job.require_space(max(0, job.file.bytes - have))
    return asyncio.run(_download(source.url, job, part, token))


class _Tag:
    """The strong ETag of what a part file began as, kept beside it; If-Range knows strong ones only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        return self._path.read_text("utf-8") if self._path.exists() else ""

    def write(self, tag: str) -> None:
        self._path.write_text(tag if tag.startswith('"') else "", "utf-8")


async def _download(url: str, job: Job, part: Path, token: str) -> str:
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S)
    # trust_env: the proxies of HTTPS_PROXY and NO_PROXY are how many firms reach anything at all.
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as session:
        with Sink(part, job, Stage.DOWNLOADING, keep=True) as sink:
            if sink.done > job.file.bytes:
                sink.restart()
            if sink.done < job.file.bytes:
                await _follow(session, url, job, sink, _Tag(part.with_suffix(".etag")), token)
        return sink.digest


async def _follow(session: aiohttp.ClientSession, url: str, job: Job, sink: Sink, tag: _Tag, token: str) -> None:
    """Request, through redirects that stay within what is allowed, until the bytes come."""
    first_host = urlsplit(url).netloc
    for _ in range(MAX_REDIRECTS + 1):
        host = urlsplit(url).netloc
        if host in job.unreachable:
            raise SourceFailed(f"{host} did not answer earlier in this pull")
        headers = {"Accept-Encoding": "identity"}
        if token and host == first_host:
            headers["Authorization"] = f"Bearer {token}"
        if sink.done:
            headers["Range"] = f"bytes={sink.done}-"
            if known := tag.read():
                headers["If-Range"] = known
        try:
            async with session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.headers.get("Location", ""))
                    if not permitted(url):
                        raise SourceFailed(f"it redirects to {url}, and only https is allowed")
                    continue
                await _receive(response, sink, tag)
                return
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            job.unreachable.add(host)
            raise SourceFailed(f"{host} cannot be reached: {_reason(error)}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceFailed(
                f"the connection broke after {sink.done} of {job.file.bytes} bytes: {_reason(error)}"
            ) from error
    raise SourceFailed(f"it redirects more than {MAX_REDIRECTS} times")


async def _receive(response: aiohttp.ClientResponse, sink: Sink, tag: _Tag) -> None:
    if response.status in (401, 403):
        raise SourceFailed(f"it answers {response.status}: access is refused (HF_TOKEN opens gated repositories)")
    if response.status == 416:
        sink.restart()
        raise SourceFailed("it cannot continue the download that an earlier attempt began; that part is discarded")
    if response.status not in (200, 206):
        raise SourceFailed(f"it answers {response.status} {response.reason or ''}".rstrip())
    begins = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if response.status == 200 and sink.done:
        sink.restart()  # the file changed since, or the server knows no ranges
    elif response.status == 206 and begins != str(sink.done):
        raise SourceFailed(f"it was asked for bytes from {sink.done} on and sent bytes from {begins or 'nowhere'}")
    tag.write(response.headers.get("ETag", ""))
    async for block in response.content.iter_chunked(BLOCK):
        sink.write(block)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"no answer in {CONNECT_TIMEOUT_S:.0f} s"
            if isinstance(error, aiohttp.ConnectionTimeoutError)
            else "silence"
        )
    return str(getattr(error, "os_error", None) or error) or type(error).__name__
