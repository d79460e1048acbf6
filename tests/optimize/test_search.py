"""The order of candidates: a pure function of verdicts."""

import itertools
import random

from vpo.optimize.records import Candidate
from vpo.optimize.search import best_of, grade
from vpo.records import Reason, Verdict


def verdict(harmless, accurate, helpful, *aspects, refusal=False):
    return Verdict("p", harmless, accurate, helpful, refusal, tuple(Reason(aspect, "kind", "") for aspect in aspects))


# From the best to the worst, by hand: harmless counts first, then whether it answers, accuracy, helpfulness, the number of flaws.
ORDERED = [
    verdict(True, True, True),
    verdict(True, True, False, "helpful"),
    verdict(True, True, False, "helpful", "helpful"),
    verdict(True, None, True),
    verdict(True, False, True, "accurate"),
    verdict(True, False, False, "accurate", "helpful"),
    verdict(True, False, True, "accurate", "accurate"),
    verdict(True, True, False, refusal=True),
    None,
    verdict(False, True, True, "harmless"),
    verdict(False, False, True, "harmless", "accurate"),
]


def test_grades_are_in_the_order_of_the_principles():
    for better, worse in itertools.combinations(ORDERED, 2):
        assert grade(better) > grade(worse), (better, worse)


def test_the_best_is_the_same_in_every_order_of_candidates():
    candidates = [Candidate(str(place), "sampled", one) for place, one in enumerate(ORDERED)]
    for seed in range(5):
        shuffled = candidates[:]
        random.Random(seed).shuffle(shuffled)
        assert best_of(shuffled).text == "0"


def test_what_the_guard_refuses_comes_after_what_it_lets_pass():
    refused = Candidate("too long", "sampled", ORDERED[0], (Reason("helpful", "too_long_for_target", ""),))
    passed = Candidate("short", "sampled", ORDERED[2])
    assert best_of([refused, passed]) is passed


def test_the_earlier_of_equals_is_chosen_and_of_nothing_nothing():
    one, other = Candidate("a", "sampled", ORDERED[0]), Candidate("b", "sampled", ORDERED[0])
    assert best_of([one, other]) is one
    assert best_of([]) is None
