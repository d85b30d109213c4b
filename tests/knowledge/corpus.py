"""A few passages about health, and an embedding without a model: words hashed into a vector."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concertino.knowledge.index import index_path
from concertino.knowledge.ingest import Embed, Report, SourceFile, ingest
from concertino.knowledge.passages import Passage
from concertino.knowledge.terms import terms

GOUT = Passage(
    "What is (are) Gout ?",
    "Gout is a painful form of arthritis. It is caused by uric acid crystals in the joints. The big toe is often "
    "swollen and red. Attacks come at night. They may last for days.",
    "https://example.org/gout",
    "health.jsonl line 1",
)
ASTHMA = Passage(
    "What are the treatments for Asthma ?",
    "How is asthma treated? Inhaled corticosteroids keep the airways from swelling. A reliever inhaler helps in an "
    "attack of asthma.",
    "https://example.org/asthma",
    "health.jsonl line 2",
)
MALARIA = Passage(
    "How to prevent Malaria ?",
    "Mosquito nets and tablets protect travellers from malaria. Ask a clinic which tablets to take.",
    "https://example.org/malaria",
    "health.jsonl line 3",
)
CATARACT = Passage(
    "What are the symptoms of Cataract ?",
    "Cloudy or blurry vision is a symptom of cataract. Colors seem faded. Night vision is poor.",
    "https://example.org/cataract",
    "health.jsonl line 4",
)
ALL = (GOUT, ASTHMA, MALARIA, CATARACT)
WORDS = "words"
"""The name of the model that `embed_words` stands for."""


def embed_words(texts: Sequence[str]) -> list[list[float]]:
    """Unit vectors of 256 numbers; texts with words in common are near each other."""
    found = []
    for text in texts:
        vector = np.zeros(256)
        for term in terms(text):
            vector[zlib.crc32(term.encode()) % 256] += 1.0
        found.append((vector / (np.linalg.norm(vector) or 1.0)).tolist())
    return found


def source(path: str, *passages: Passage, sha256: str = "") -> SourceFile:
    return SourceFile(path, sha256 or f"{zlib.crc32(path.encode()):064x}", passages)


def put(home: Path, specialist: str, *passages: Passage, embed: Embed | None = None) -> Report:
    """Ingest passages for a specialist, by words alone unless `embed` is given."""
    return ingest(index_path(home, specialist), [source("/data/health.jsonl", *passages)], embed, WORDS)
