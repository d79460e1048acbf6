"""What clips say of themselves as metrics."""

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
    assert [list(row) for row in rows] == [Rendering.card.applicable(one) for one in samples]
    assert all(Rendering.card.metric_of(name) for row in rows for name in row)
