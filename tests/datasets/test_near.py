"""MinHash with banding finds what comparing every pair finds."""

import random
from pathlib import Path

import numpy as np
import pytest

from concertino.datasets import crowded
from concertino.datasets import staging as staging_module
from concertino.datasets.near import bands, near_duplicates
from concertino.datasets.ngrams import Words
from concertino.datasets.normalise import comparable, words
from concertino.datasets.personal import PersonalDataFinder, scrub
from concertino.datasets.prepare import Preparer, RawRow
from concertino.datasets.staging import Fixed, Staging
from concertino.template import clean

from .making import Made, curate, recipe, rows, write


@pytest.mark.parametrize("threshold", [0.95, 0.9, 0.8, 0.6])
def test_every_pair_above_the_threshold_ends_in_one_cluster(tmp_path: Path, threshold: float) -> None:
    draw = random.Random(1)
    vocabulary = [f"w{n}" for n in range(400)]
    texts = [[*draw.choices(vocabulary, k=draw.randint(5, 60))] for _ in range(300)]
    for base in texts[:150]:
        changed = list(base)
        for _ in range(draw.randint(0, 3)):
            changed[draw.randrange(len(changed))] = draw.choice(vocabulary)
        texts.append(changed if draw.random() < 0.5 else [*base, draw.choice(vocabulary)])
    staging = Staging(tmp_path, [Fixed.NONE])
    raw = [RawRow({"text": " ".join(text), "label": "a"}, 0, f"a:{n}") for n, text in enumerate(texts)]
    staging.add(Preparer(recipe({"path": "a"})).prepare(raw).rows)
    staging.finish()
    places = np.arange(len(texts))
    stands, unsure = near_duplicates(
        staging, places, np.zeros(len(texts), np.int8), threshold, tmp_path, lambda rows: None
    )
    staging.close()
    sets = [frozenset(zip(text, text[1:], text[2:], strict=False)) for text in texts]
    pairs = [
        (a, b)
        for a in range(len(sets))
        for b in range(a)
        if len(sets[a] & sets[b]) >= threshold * len(sets[a] | sets[b])
    ]
    assert len(pairs) > 30
    assert not unsure
    assert all(stands[a] == stands[b] for a, b in pairs)
    linked = {place for pair in pairs for place in pair}
    assert all(stands[place] == place for place in places.tolist() if place not in linked)
    assert all(stands[place] <= place for place in places.tolist())


def template_rows(count: int, shared: int) -> list[dict[str, str]]:
    """Pairs of near-copies, in any order, above one disclaimer of so many words."""
    draw = random.Random(5)
    vocabulary = [f"w{n}" for n in range(3000)]
    disclaimer = " ".join(draw.sample(vocabulary, shared))
    bodies = [draw.sample(vocabulary, 14) for _ in range(count)]
    bodies += [[*body[:-1], draw.choice(vocabulary)] for body in bodies]
    draw.shuffle(bodies)
    return [{"text": f"{' '.join(body)} {disclaimer}", "label": "ab"[n % 2]} for n, body in enumerate(bodies)]


def copies_left(made: Made) -> int:
    """Pairs of rows that begin alike."""
    return len(made.rows()) - len({tuple(row.text.split()[:13]) for row in made.rows()})


def test_near_copies_above_one_disclaimer_are_all_found(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", template_rows(300, 200))
    made = curate(tmp_path, recipe({"path": "a.jsonl"}))
    assert copies_left(made) == 0
    assert len(made.rows()) == 300
    assert made.counts.warnings == ()


def test_crowds_beyond_the_bounds_are_cut_and_what_was_not_compared_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.jsonl", template_rows(300, 200))
    made_of = recipe({"path": "a.jsonl"})
    monkeypatch.setattr(crowded, "SHINGLES", 40_000)
    cut = curate(tmp_path, made_of)
    left = copies_left(cut)
    assert left < 10
    assert "share so much with thousands of others" in cut.sheet
    monkeypatch.setattr(crowded, "_WORK", 0)
    monkeypatch.setattr(crowded, "_WORK_A_ROW", 0)
    made = curate(tmp_path, made_of, force=True)
    assert copies_left(made) > left
    assert "share so much with thousands of others" in made.sheet


def test_a_repeated_phrase_does_not_hide_a_near_duplicate(tmp_path: Path) -> None:
    text = " ".join(f"w{n}" for n in range(40))
    write(tmp_path, "a.jsonl", [*rows(50), {"text": text, "label": "a"}, {"text": f"{text} {text}", "label": "a"}])
    assert len(curate(tmp_path, recipe({"path": "a.jsonl"})).rows()) == 51


def test_rows_are_read_in_runs_that_are_neither_many_nor_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_module, "BATCH_ROWS", 7)
    monkeypatch.setattr(staging_module, "BATCH_CHARACTERS", 1_000)
    draw = random.Random(2)
    lengths = [draw.choice((3, 3, 3, 3, 40, 400)) for _ in range(200)]
    staging = Staging(tmp_path, [Fixed.NONE])
    raw = [RawRow({"text": "word " * n, "label": "a"}, 0, f"a:{place}") for place, n in enumerate(lengths)]
    staging.add(Preparer(recipe({"path": "a"})).prepare(raw).rows)
    staging.finish()
    places = np.arange(0, len(staging.index), 2)
    runs = list(staging.batches(places))
    staging.close()
    assert np.array_equal(np.concatenate(runs), places)
    assert max(map(len, runs)) == 7
    long = [int(staging.index["characters"][run].sum()) for run in runs if len(run) > 1]
    assert max(long) <= 2_000 + 1_000, "a run ends with the text that fills it"
    assert list(staging.batches(places[:0])) == []


@pytest.mark.parametrize("threshold", [0.99, 0.9, 0.7, 0.5])
def test_bands_miss_at_most_one_pair_in_a_thousand(threshold: float) -> None:
    count, rows = bands(threshold)
    assert (1 - threshold**rows) ** count <= 1e-3
    assert count * rows <= 64


def test_ngrams_never_cross_from_one_text_into_the_next() -> None:
    together = Words([["a", "b"], [], ["c", "d", "e"], ["a", "b", "c", "d", "e"]])
    hashes, owners = together.ngrams(3)
    assert owners.tolist() == [2, 3, 3, 3]
    assert hashes[0] == hashes[3]
    assert len(set(hashes.tolist())) == 3
    _, owners = together.shingles(3)
    assert owners.tolist() == [0, 1, 2, 3, 3, 3]


def test_text_is_kept_readable_and_compared_by_its_words() -> None:
    assert clean("  Caf\u0065\u0301\u200b \r\n\r\n\r\n\x00x\t\n") == "Café\n\n x"
    assert comparable("Don’t, STOP…") == comparable("don't stop")
    assert comparable("ﬁne Straße") == comparable("FINE STRASSE")
    assert words("東京 tower") == ["東", "京", "tower"]
    assert comparable("?! ?") == "?!?"


def test_personal_data_is_found_alike_alone_and_among_others_and_however_much_there_is() -> None:
    finder = PersonalDataFinder()
    texts = [f"row {n} is about cards" for n in range(400)]
    texts[7] = "ask jane.roe@example.org"
    texts[300] = "my name is Jane Roe and my phone is +41 44 668 18 00"
    texts[301] = "call " + ", ".join(f"192.168.{n}.77" for n in range(80))
    found = finder.find_all(texts)
    assert found == {place: spans for place, text in enumerate(texts) if (spans := finder.find(text))}
    assert sorted(found) == [7, 300, 301]
    assert scrub(texts[7], found[7]) == "ask [EMAIL]"
    assert scrub(texts[301], found[301]).count("[IP_ADDRESS]") == 80
