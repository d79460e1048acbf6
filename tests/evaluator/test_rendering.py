"""What clips say of themselves as metrics."""

import pytest

from vpo.evaluator.rendering import Rendering
from vpo.records import Clip, Failure, Prompt, Query, Sample


def sample(clip):
    return Sample(Query("q", "a fox"), Prompt("p", "q", "a fox", "A red fox runs.", "m"), (clip,) if clip else ())


def clip(**values):
    facts = {"seed": 0, "frames": 9, "fps": 8.0, "height": 32, "width": 32} | values
    return Clip("c", "p", "q", "a fox", "A red fox runs.", "c.mp4", **facts)


def test_what_became_of_a_prompt():
    clips = [
        clip(truncated_tokens=0),
        clip(truncated_tokens=12, faults=("seed 0: black",)),
        clip(status="black", truncated_tokens=0, faults=("seed 0: black",)),
        clip(),  # nobody counted its tokens
        Failure("timeout", "no answer"),
        None,
    ]
    samples = [sample(one) for one in clips]
    rows = Rendering().measure(samples)
    assert rows == [
        {"usable": 1.0, "retried": 0.0, "pct_truncated": 0.0, "truncated_tokens": 0.0},
        {"usable": 1.0, "retried": 1.0, "pct_truncated": 1.0, "truncated_tokens": 12.0},
        {"usable": 0.0, "retried": 1.0, "pct_truncated": 0.0, "truncated_tokens": 0.0},
        {"usable": 1.0, "retried": 0.0},
        dict.fromkeys(("usable", "retried", "pct_truncated", "truncated_tokens")),
        {},
    ]
    assert {type(value) for value in rows[4].values()} == {type(None)}
    assert [list(row) for row in rows] == [Rendering.card.applicable(one) for one in samples]
    assert all(Rendering.card.metric_of(name) for row in rows for name in row)


def test_a_clip_that_could_not_be_made_is_counted_and_not_usable():
    """Of five clips two were not made and one is black: two of the three that there are can be used, and two have failed."""
    late = Failure("timeout", "no answer")
    clips = (clip(truncated_tokens=0), clip(truncated_tokens=4), clip(status="black", truncated_tokens=0), late, late)
    one = sample(None)
    (row,) = Rendering().measure([Sample(one.query, one.prompt, clips)])
    assert row["usable"] == pytest.approx(2 / 3)
    assert row["pct_truncated"] == pytest.approx(1 / 3)
    assert {(value.tried, value.failed) for value in row.values()} == {(5, 2)}
