"""Near duplicates by MinHash against all pairs compared."""

import random

import pytest

from tests.curation.conftest import QUERIES
from vpo.curation.near import jaccard, near_duplicates
from vpo.curation.reading import shingles_of

pytest.importorskip("datasketch", reason="the extra `curation` is not installed")

BY = {"least": 0.7, "shingle": 4, "permutations": 128}


def test_the_first_one_stays():
    texts = ["A red cat runs over a wet roof at night", "dogs", "a red cat runs over a wet roof, at night! -ar 16:9",
             "a red cat runs over a wet roof at night", "a blue fish swims"]  # fmt: skip
    assert near_duplicates(texts, **BY) == {2: 0, 3: 0}


def test_what_is_dropped_is_near_by_all_pairs_and_hardly_anything_is_missed():
    random.seed(1)
    changed = []
    for text in QUERIES:
        words = text.split()
        words[random.randrange(len(words))] = "something"
        changed.append(" ".join(words))
    texts = [*QUERIES, *changed]
    sets = [shingles_of(text, 4) for text in texts]
    found = near_duplicates(texts, **BY)
    assert all(jaccard(sets[one], sets[other]) >= 0.7 for one, other in found.items())
    kept = [place for place in range(len(texts)) if place not in found]
    missed = [(one, other) for one in kept for other in kept if other < one and jaccard(sets[one], sets[other]) >= 0.7]
    assert len(found) > 0.3 * len(QUERIES)
    assert len(missed) <= 0.05 * len(found)


@pytest.mark.parametrize("permutations", [16, 128])
@pytest.mark.parametrize("least", [1e-6, 0.5, 0.99, 1])
def test_every_index_that_a_config_may_ask_for_has_its_bands(least, permutations):
    texts = ["a red cat runs", "A red cat runs!", "seven blue boats"]
    assert near_duplicates(texts, least=least, shingle=4, permutations=permutations) == {1: 0}


def test_texts_without_words_are_near_none():
    assert near_duplicates(["🐈", "🐈", "", "!!"], **BY) == {}


def test_jaccard_by_hand():
    assert shingles_of("A cat!", 4) == {"a ca", " cat"}
    assert shingles_of("cats, a", 4) == {"cats", "ats ", "ts a"}
    assert jaccard({"a", "b", "c"}, {"b", "c", "d"}) == 0.5
