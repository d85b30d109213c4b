"""Versions of skills: named by content, promoted and rolled back in one step, and laid over the configured team."""

from concertino.registry.overlay import Overlay, Served, known_skills, lay_over, overlay, serving
from concertino.registry.registry import Registry
from concertino.registry.version import Version, read_version

__all__ = [
    "Overlay", "Registry", "Served", "Version", "known_skills", "lay_over", "overlay", "read_version", "serving",
]  # fmt: skip
