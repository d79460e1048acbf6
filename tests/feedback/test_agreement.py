"""Cohen's kappa, against hand-made tables and an independent form of it."""

import itertools
import math

import pytest

from vpo.feedback.agreement import cohen_kappa, krippendorff_alpha

Y, N = True, False


def of_table(yes_yes, yes_no, no_yes, no_no):
    """Two raters' answers with these counts."""
    rows = [(Y, Y)] * yes_yes + [(Y, N)] * yes_no + [(N, Y)] * no_yes + [(N, N)] * no_no
    return [a for a, _ in rows], [b for _, b in rows]


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # p_o = 35/50 = 0.7; yes: 25/50 and 30/50; p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5; (0.7 - 0.5) / 0.5 = 0.4
        ((20, 5, 10, 15), 0.4),
        # p_o = 0.6; p_e = 0.6 * 0.7 + 0.4 * 0.3 = 0.54 and 0.6 * 0.3 + 0.4 * 0.7 = 0.46: the same agreement, another kappa
        ((45, 15, 25, 15), 0.06 / 0.46),
        ((25, 35, 5, 35), 0.14 / 0.54),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((5, 5, 5, 5), 0.0),
        # One rater says yes to all: agreement is that of chance.
        ((8, 0, 2, 0), 0.0),
    ],
)
def test_by_hand(table, kappa):
    assert cohen_kappa(*of_table(*table)) == pytest.approx(kappa, abs=1e-12)


def test_against_the_form_for_two_labels():
    """kappa = 2 (ad - bc) / ((a + b)(b + d) + (a + c)(c + d)), for every table of up to 4 in a cell."""
    for a, b, c, d in itertools.product(range(5), repeat=4):
        below = (a + b) * (b + d) + (a + c) * (c + d)
        found = cohen_kappa(*of_table(a, b, c, d))
        if below == 0:
            assert found is None
        else:
            assert math.isclose(found, 2 * (a * d - b * c) / below, abs_tol=1e-12)


def test_more_than_two_labels():
    """p_o = 3/6; p_e = (2*3 + 2*1 + 2*2) / 36 = 12/36; (1/2 - 1/3) / (2/3) = 1/4."""
    assert cohen_kappa(list("aabbcc"), list("aaabcc")) == pytest.approx((5 / 6 - 12 / 36) / (24 / 36))
    assert cohen_kappa(list("aabbcc"), list("aaacbc")) == pytest.approx(1 / 4)


def test_items_that_one_of_them_left_out_do_not_count():
    one, other = of_table(20, 5, 10, 15)
    assert cohen_kappa([*one, None, Y, None], [*other, Y, None, None]) == pytest.approx(0.4)
    assert cohen_kappa([None, Y], [Y, None]) is None
    assert cohen_kappa([], []) is None
    assert cohen_kappa([Y, Y], [Y, Y]) is None  # chance explains all of it
    with pytest.raises(ValueError, match=r"shorter|longer"):
        cohen_kappa([Y], [Y, N])


# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), part C: four observers, twelve units, some labels missing.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_krippendorff_s_own_example(level, published):
    units = [[label for label in labels if label is not None] for labels in zip(*OBSERVERS, strict=True)]
    assert krippendorff_alpha(units, level) == pytest.approx(published, abs=5e-4)


def test_alpha_is_not_defined_where_nothing_can_differ():
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([["a"], ["b"]]) is None  # nothing was labelled twice
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1.0
