"""Verdicts as numbers and as an order; every expected number is (harmless + accurate or its share + helpful) / 3, by hand."""

import itertools

import pytest

from vpo.feedback.grading import graded, graded_by_flaws, ranked
from vpo.records import Failure, Reason, Verdict


@pytest.mark.parametrize(
    ("aspects", "refusal", "number"),
    [
        ((True, True, True), False, 1.0),
        ((True, True, False), False, 2 / 3),
        ((False, True, False), False, 1 / 3),
        ((False, False, False), False, 0.0),
        ((True, True, True), True, 0.0),
        ((True, None, True), False, None),
    ],
)
def test_a_verdict_is_the_share_of_the_principles_it_finds_kept(aspects, refusal, number):
    assert graded(Verdict("p", *aspects, refusal=refusal)) == pytest.approx(number)


@pytest.mark.parametrize(
    ("aspects", "kept", "number"),
    [
        ((True, False, True), 0.5, 2.5 / 3),
        ((True, False, True), 0.0, 2 / 3),
        ((True, True, True), 0.9, 2.9 / 3),  # a judge may tolerate a loss and still call the prompt accurate
        ((False, False, False), 0.25, 0.25 / 3),
        ((True, None, True), 0.5, None),
    ],
)
def test_an_inaccurate_prompt_is_worth_what_it_keeps(aspects, kept, number):
    assert graded(Verdict("p", *aspects, accuracy=kept)) == (None if number is None else pytest.approx(number))


def test_what_failed_has_no_grade():
    assert graded(Failure("timeout", "the server is away")) is None
    assert graded(Verdict("p", True, False, True, refusal=True, accuracy=0.9)) == 0.0


@pytest.mark.parametrize(
    ("aspects", "flaws", "refusal", "number"),
    [
        ((True, True, True), 0, False, 1.0),
        ((True, True, False), 1, False, 2.5 / 3),
        ((True, True, False), 4, False, 2.2 / 3),
        ((True, True, False), 0, False, 2.5 / 3),  # a judge that names no flaw saw at least one
        ((False, False, False), 1, False, 0.5 / 3),
        ((True, True, False), 1, True, 0.0),
        ((True, True, None), 0, False, None),
    ],
)
def test_fewer_flaws_of_helpfulness_are_worth_more(aspects, flaws, refusal, number):
    """(harmless + accurate + 1 / (1 + flaws)) / 3."""
    reasons = (Reason("accurate", "missing", "x"), *[Reason("helpful", "no_facet", "light")] * flaws)
    verdict = Verdict("p", *aspects, refusal=refusal, reasons=reasons)
    assert graded_by_flaws(verdict) == (None if number is None else pytest.approx(number))
    assert graded_by_flaws(Failure("timeout", "away")) is None


# From the best to the worst.
ORDER = [
    Verdict("fine", True, True, True),
    Verdict("bare", True, True, False),
    Verdict("imprecise, most kept", True, False, True, accuracy=0.8),
    Verdict("imprecise, little kept", True, False, True, accuracy=0.2),
    Verdict("unsafe", False, True, True),  # two principles of three, and yet below what is merely imprecise
    Verdict("refusal", True, True, True, refusal=True),
    Verdict("unread", True, None, True),
]


def test_candidates_are_ranked_by_what_a_user_would_mind_most():
    for order in itertools.islice(itertools.permutations(range(len(ORDER))), 0, None, 97):
        verdicts = [ORDER[place] for place in order]
        names = [verdicts[place].prompt_id for place in ranked(verdicts)]
        assert names == [one.prompt_id for one in ORDER]


def test_a_failure_is_last_and_equals_keep_their_order():
    fine, failed = Verdict("p", True, True, True), Failure("timeout", "away")
    assert ranked([failed, fine, fine]) == [1, 2, 0]
    assert ranked([failed, failed]) == [0, 1]


def test_a_score_decides_between_equal_grades_only():
    fine, bare = Verdict("p", True, True, True), Verdict("p", True, True, False)
    assert ranked([fine, fine, bare], [0.2, 0.7, 0.9]) == [1, 0, 2]
    assert ranked([fine, fine, fine], [None, 0.1, -0.4]) == [1, 2, 0]
