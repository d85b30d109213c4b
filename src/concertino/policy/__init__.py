"""Facts about a request -> which specialists may see it, or a refusal."""

from concertino.policy.base import Detector, Finding, Kind
from concertino.policy.rules import Policy, SpecialistFacts, load_detectors

__all__ = ["Detector", "Finding", "Kind", "Policy", "SpecialistFacts", "load_detectors"]
