"""A file on this machine or a mounted share, copied into the store."""

from pathlib import Path

from concertino.models.catalogue import LocalSource
from concertino.models.sources.base import Job, SourceFailed, Stage
from concertino.models.sources.sink import BLOCK, Sink


def fetch_local(source: LocalSource, job: Job, part: Path) -> str:
    """Copy the file to `part`; returns the SHA-256 of what was written."""
    origin = Path(source.path).expanduser()
    job.require_space(job.file.bytes)
    try:
        reader = origin.open("rb")
    except OSError as error:
        raise SourceFailed(f"it cannot be read: {error.strerror}") from error
    with reader, Sink(part, job, Stage.DOWNLOADING) as sink:
        while block := reader.read(BLOCK):
            sink.write(block)
    return sink.digest
