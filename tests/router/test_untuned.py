"""The published encoder in the head's own graph."""

import numpy as np
import pytest

from concertino.config import home_folder
from concertino.default_models import SENTENCE_ENCODER
from concertino.models import Store
from concertino.router.linear import SHIPPED
from concertino.router.manifest import load_manifest
from concertino.router.published import WEIGHTS, open_published
from concertino.router.untuned import quantise_columns, untuned_encoder

TEXTS = [
    "What does the acronym PESTLE stand for?",
    "can my landlord keep the deposit?",
    "A projecting ridge of bone above the eye orbits is called",
    "for i in range(10): print(i)",
    "Write a short poem about autumn. " * 60,
]


def test_a_column_of_zeros_is_quantised_to_zeros() -> None:
    values, scale = quantise_columns(np.array([[0.0, 2.0], [0.0, -4.0]], np.float32))
    assert values.tolist() == [[0, 64], [0, -127]] and np.all(np.isfinite(scale))


@pytest.mark.models
def test_its_vectors_are_those_of_the_published_encoder_but_for_the_rounding() -> None:
    weights = Store(home_folder()).resolve(SENTENCE_ENCODER, WEIGHTS)
    light = untuned_encoder(SHIPPED, weights, load_manifest(SHIPPED).recipe)
    cosines = (light.whole(TEXTS) * open_published().whole(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.97
