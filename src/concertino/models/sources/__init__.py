"""One file a kind of source: each writes a model file's bytes into a part file, or says why it cannot."""

from concertino.models.sources.base import Job, Listener, SourceFailed, Stage, Step, size

__all__ = ["Job", "Listener", "SourceFailed", "Stage", "Step", "size"]
