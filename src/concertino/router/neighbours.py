"""A second look at what the head is unsure of: whose are the nearest training texts, by the encoder as published?

The head's encoder was tuned until it forgot what the domains have within them; the published one still tells a question
on marketing from one on economics, and errs on other texts than the head does, so that both together are better than
either. The training texts are a bank of vectors under product quantisation (Jégou et al. 2011, "Product Quantization
for Nearest Neighbor Search"): a vector is cut into pieces, and of each piece a byte says which centre is nearest.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from msgspec import Struct

from concertino.config import home_folder
from concertino.default_models import SENTENCE_ENCODER
from concertino.errors import ConcertinoError, ConfigurationError
from concertino.models import Store
from concertino.router.encoder import Encoder
from concertino.router.manifest import MANIFEST, NEIGHBOURS, Manifest, NeighbourSettings
from concertino.router.published import WEIGHTS, published_sha256
from concertino.router.untuned import untuned_encoder

FLOOR = 1e-2
"""Share of the votes that every class gets beside its own: fifty neighbours do not make a class impossible."""

_log = logging.getLogger(__name__)


class Bank(Struct, frozen=True, eq=False):
    """Training texts. `codes` is uint8 `[pieces, texts]`, `centres` float32 `[pieces, 256, width / pieces]`, `labels`
    the texts' class numbers `[texts]`, `weights` how much each counts `[texts]`."""

    codes: np.ndarray
    centres: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def cosines(self, vector: np.ndarray) -> np.ndarray:
        """Of a unit vector `[width]` with every text, as far as its code tells, float32 `[texts]`."""
        pieces = vector.reshape(len(self.centres), -1, 1)
        tables = (self.centres @ pieces)[:, :, 0]
        total = np.zeros(self.codes.shape[1], np.float32)
        for table, codes in zip(tables, self.codes, strict=True):
            total += table[codes]
        return total

    def votes(self, vector: np.ndarray, classes: int, settings: NeighbourSettings) -> np.ndarray:
        """Shares of the classes among the nearest texts, near ones counting more, `[classes]`."""
        cosines = self.cosines(vector)
        count = min(settings.nearest, len(cosines))
        nearest = np.argpartition(-cosines, count - 1)[:count]
        near = np.exp((cosines[nearest] - cosines[nearest].max()) / settings.width)
        votes = np.bincount(self.labels[nearest], near * self.weights[nearest], classes)
        votes = votes / votes.sum() + FLOOR
        return np.asarray(votes / votes.sum())


def read_bank(path: Path) -> Bank:
    """Raises ConfigurationError for a file that holds no bank."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            bank = Bank(
                arrays["codes"],
                arrays["centres"].astype(np.float32),
                arrays["labels"].astype(np.int64),
                arrays["weights"].astype(np.float32),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", param="router.options.weights") from error
    pieces, texts = bank.codes.shape if bank.codes.ndim == 2 else (0, 0)
    fits = bank.centres.ndim == 3 and len(bank.centres) == pieces > 0
    if not fits or not bank.labels.shape == bank.weights.shape == (texts,) != (0,):
        raise ConfigurationError(f"{path} is no bank of neighbours", param="router.options.weights")
    return bank


def joined(rows: np.ndarray, votes: np.ndarray, settings: NeighbourSettings) -> np.ndarray:
    """The head's probabilities and the neighbours' votes together, all `[texts, classes]`."""
    logits = (np.log(np.maximum(rows, 1e-12)) + settings.share * np.log(votes)) / settings.temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


class Neighbours:
    """The second look of a folder of weights. The encoder is loaded when it is first needed. Safe in several threads.

    Where the model store lacks it, has another one than the bank was made with, or one that is damaged, nothing is
    looked at, and the log says so once: the head's word stands. `encoder` is one that is already open.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        settings: NeighbourSettings,
        below: float,
        home: Path | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.below = below
        self._home = home
        self._settings = settings
        self._classes = len(manifest.classes)
        self._folder, self._manifest = folder, manifest
        self._bank = read_bank(folder / NEIGHBOURS)
        if not 0 <= self._bank.labels.min() <= self._bank.labels.max() < self._classes:
            raise ConfigurationError(
                f"{folder / NEIGHBOURS} has texts of classes that {MANIFEST} lacks", param="router.options.weights"
            )
        self._encoder = encoder
        self._missing = False
        self._lock = threading.Lock()

    def unsure(self, rows: np.ndarray) -> list[int]:
        """Which of the head's probabilities, `[texts, classes]`, are to be looked at again."""
        places = np.flatnonzero(rows.max(axis=1) < self.below) if len(rows) else np.empty(0, int)
        return places.tolist() if len(places) and self._open() is not None else []

    def weighed(self, texts: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """The probabilities of the texts by the head, `rows`, and by their neighbours together, `[texts, classes]`."""
        encoder = self._open()
        return rows if encoder is None else joined(rows, self.votes(encoder, texts), self._settings)

    def votes(self, encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
        """Of the texts' neighbours, `[texts, classes]`."""
        return np.stack([self._bank.votes(vector, self._classes, self._settings) for vector in encoder.whole(texts)])

    def trouble(self) -> str:
        """Why nothing can be looked at, a sentence; empty where all is well."""
        return self._load()[1]

    def _open(self) -> Encoder | None:
        if self._encoder is None and not self._missing:
            with self._lock:
                if self._encoder is None and not self._missing:
                    self._encoder, trouble = self._load()
                    self._missing = self._encoder is None
                    if trouble:
                        _log.warning("%s `router.options.neighbours_below: 0` says that it need not.", trouble)
        return self._encoder

    def _load(self) -> tuple[Encoder | None, str]:
        """The encoder, or None and why not."""
        try:
            found, made = published_sha256(self._home), self._manifest.base_sha256
            if found == made:
                weights = Store(self._home or home_folder()).resolve(SENTENCE_ENCODER, WEIGHTS, verify=True)
                encoder = untuned_encoder(self._folder, weights, self._manifest.recipe)
                self.votes(encoder, [""])  # what does not fit the bank shows here, and not in a request
                return encoder, ""
            problem = f"The {SENTENCE_ENCODER} of the store is {found[:12]}, and they were found with {made[:12]}."
        except ConcertinoError as error:
            problem = error.message
        except Exception as error:  # of three readers and a store: the second look must not cost the first
            problem = f"{SENTENCE_ENCODER} cannot be read: {type(error).__name__}: {error}."
        return None, f"The router's head decides alone where it is unsure, and asks no neighbours. {problem}"
