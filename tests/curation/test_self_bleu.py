"""Self-BLEU in linear time against its quadratic definition with sacrebleu, and a selection that leaves nothing too similar."""

import random

import pytest

from tests.curation.conftest import QUERIES
from vpo.curation.reading import words_of
from vpo.curation.self_bleu import self_bleu, too_similar

sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

# Words come again within a text and between texts, texts come again, and some are shorter than the order.
WORDS = ["cat", "dog", "runs", "a", "the", "red"]
RANDOM = [" ".join(random.Random(seed).choices(WORDS, k=random.Random(seed).randint(1, 12))) for seed in range(60)]


def by_definition(texts, order):
    """Each text against all others: as many comparisons as pairs."""
    metric = sacrebleu.BLEU(
        smooth_method="floor",
        smooth_value=0.1,
        effective_order=True,
        tokenize="none",
        force=True,
        max_ngram_order=order,
    )
    lines = [" ".join(words_of(text)) for text in texts]
    return [metric.sentence_score(line, lines[:at] + lines[at + 1 :]).score / 100 for at, line in enumerate(lines)]


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize(
    "texts", [RANDOM, QUERIES[:60], [*RANDOM[:20], *RANDOM[:20]]], ids=["random", "users", "twice"]
)
def test_scores_are_those_of_the_definition(texts, order):
    assert self_bleu(texts, order=order) == pytest.approx(by_definition(texts, order), abs=1e-9)


def test_by_hand():
    """Of "a cat runs": unigrams 2 of 3, bigrams 1 of 2; of equal length, so no penalty."""
    first, second, third, fourth = self_bleu(["a cat runs", "a cat sleeps", "big runs fast now", "it rains"], order=2)
    assert first == pytest.approx((3 / 3 * 1 / 2) ** 0.5)
    assert second == pytest.approx((2 / 3 * 1 / 2) ** 0.5)
    assert third == pytest.approx((1 / 4 * 0.1 / 3) ** 0.5)  # no bigram matches: 0.1 stands for none
    assert fourth == 0.0


def test_the_highest_count_of_the_others_clips():
    """ "dog dog dog" matches two of its three dogs, as often as another text has them; its own three do not count."""
    assert self_bleu(["dog dog dog", "dog dog cat"], order=1)[0] == pytest.approx(2 / 3)
    assert self_bleu(["dog dog dog", "dog cat sun"], order=1)[0] == pytest.approx(1 / 3)
    assert self_bleu(["dog dog dog", "dog dog dog", "sun"], order=1)[0] == pytest.approx(1)


@pytest.mark.parametrize("texts", [[], ["a cat"], ["🐈", "🐕"]])
def test_without_words_or_others_there_is_nothing_to_repeat(texts):
    assert self_bleu(texts, order=4) == [0.0] * len(texts)
    assert too_similar(texts, most=0.5, order=4) == {}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [0.3, 0.6])
def test_what_stays_is_not_too_similar_and_nothing_goes_without_need(seed, most):
    texts = random.Random(seed).sample([*RANDOM, *QUERIES[:40]], 60)
    gone = too_similar(texts, most=most, order=3)
    kept = [text for place, text in enumerate(texts) if place not in gone]
    assert max(by_definition(kept, 3)) <= most
    assert gone
    assert all(score > most for score in gone.values())


def test_one_of_a_group_stays():
    views = [f"a boat sails along the river at noon, {view}" for view in ("zoom in", "pan left", "from above")]
    others = ["two children build a castle of sand", "neon signs flicker in the rain"]
    gone = too_similar([*views, *others], most=0.5, order=4)
    assert len(gone) == 2
    assert set(gone) < {0, 1, 2}
