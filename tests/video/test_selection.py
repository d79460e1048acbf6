"""Which frames are read, against cases worked out by hand and the numpy calls of the released scripts."""

from itertools import pairwise

import numpy as np
import pytest

from vpo.errors import UserError
from vpo.video.selection import Timeline, arange, middle, parts, rate, seconds, selection_of, span, steps


def test_middle_by_hand() -> None:
    # T = 10 in 4 parts: edges 0, 2.5, 5, 7.5, 10 cut to 0 2 5 7 10; parts 0..1, 2..4, 5..6, 7..9; their middles.
    assert middle(10, 4) == [0, 3, 5, 8]
    # T = 49 in 8: edges 0 6 12 18 24 30 36 42 49.
    assert middle(49, 8) == [2, 8, 14, 20, 26, 32, 38, 45]
    # T = 3 for 5: parts 0, 1, 2; the last index fills up.
    assert middle(3, 5) == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("n", [8, 16, 48])
def test_middle_is_what_numpy_gives(n: int) -> None:
    for count in range(1, 500):
        own = min(n, count)
        edges = np.linspace(0, count, own + 1).astype(int)
        expected = [int(low + high - 1) // 2 for low, high in pairwise(edges)]
        assert middle(count, n) == expected + [expected[-1]] * (n - own), count


def test_arange_by_hand() -> None:
    assert arange(49, 4) == [0, 12, 24, 36]  # steps of 12.25
    assert arange(8, 4) == [0, 2, 4, 6]
    assert arange(3, 4) == [0, 0, 1, 2]  # 0, .75, 1.5, 2.25: a short clip's first frame counts twice, as it does there
    assert arange(1, 4) == [0, 0, 0, 0]


@pytest.mark.parametrize("n", [4, 16, 48])
def test_arange_is_what_numpy_gives(n: int) -> None:
    for count in range(1, 1000):
        assert arange(count, n) == [int(one) for one in np.arange(0, count, count / n)], count


def test_steps_take_all_frames_of_a_short_clip() -> None:
    assert steps(16, 16) == list(range(16))
    assert steps(5, 16) == [0, 1, 2, 3, 4]
    assert steps(17, 16)[:3] == [0, 1, 2]
    assert steps(17, 16)[-1] == 15  # 15 * 17/16 = 15.94
    assert steps(32, 16) == list(range(0, 32, 2))


def test_parts_by_hand() -> None:
    assert parts(49, 5) == [0, 9, 19, 29, 39]  # 0, 9.8, 19.6, 29.4, 39.2
    assert parts(2, 5) == [0, 0, 0, 1, 1]


def test_seconds_take_the_nearest_frame() -> None:
    at_8 = [place / 8 for place in range(49)]  # 0 .. 6 s
    assert seconds(at_8, 24) == [0, 8, 16, 24, 32, 40, 48]
    assert seconds(at_8, 3) == [0, 8, 16]
    # The last frame at 1.6 s: rounded 2, so that seconds 0, 1 and 2 are asked; 0.9 is nearer to 1 than 1.2 is.
    assert seconds([0.0, 0.4, 0.9, 1.2, 1.6], 24) == [0, 2, 4]
    # 0.5 and 1.5 are equally near to 1: the earlier one. round(1.5) = 2.
    assert seconds([0.0, 0.5, 1.5], 24) == [0, 1, 2]
    assert seconds([0.0], 24) == [0]


def test_configs_name_selections() -> None:
    line = Timeline(tuple(place / 8 for place in range(49)), 1)
    assert selection_of("all", "reward.frames")(line) == list(range(49))
    assert selection_of("middle 8", "reward.frames")(line) == middle(49, 8)
    assert selection_of("arange 4", "reward.frames")(line) == [0, 12, 24, 36]
    assert selection_of("steps 48", "reward.frames")(line)[:2] == [0, 1]
    assert selection_of("parts 5", "reward.frames")(line) == [0, 9, 19, 29, 39]
    assert selection_of("seconds 24", "reward.frames")(line) == [0, 8, 16, 24, 32, 40, 48]


@pytest.mark.parametrize("text", ["", "some", "middle", "middle 0", "middle -1", "all 3", "middle 8 ", "median 8"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"reward\.frames=.* names no frames of a clip; choose all, or one of 'middle 8'"
    ):
        selection_of(text, "reward.frames")


def test_span_by_hand() -> None:
    assert span(49, 4) == [0, 16, 32, 48]
    assert span(10, 3) == [0, 4, 9]  # 4.5 to the even number
    assert span(3, 8) == [0, 1, 2]
    assert span(9, 1) == [0]


@pytest.mark.parametrize("n", [2, 8, 16])
def test_span_is_what_numpy_gives(n: int) -> None:
    for count in range(1, 500):
        assert span(count, n) == np.linspace(0, count - 1, min(n, count)).round().astype(int).tolist(), count


def test_rate_counts_seconds() -> None:
    at_8 = [place / 8 for place in range(49)]  # 49 frames: 6.125 s, at 2 a second 12.25, cut to 12
    assert rate(at_8, 2) == np.linspace(0, 48, 12).round().astype(int).tolist()
    assert len(rate(at_8[:8], 2)) == 4  # of 1 s two frames, and at least four
    assert rate(at_8[:3], 2) == [0, 2]  # no more than there are, and an even number
    assert rate(at_8[:1], 2) == [0]
    assert len(rate([place / 30 for place in range(15000)], 2)) == 768
