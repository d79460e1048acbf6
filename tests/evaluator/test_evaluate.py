"""What the stage `evaluate` counts."""

from vpo.stages.evaluate import _counts


def test_a_query_is_measured_or_has_no_such_metric_or_failed():
    read = {"metrics": {"scene": 0.5, "scene_count": 0.0}}
    unreadable = {"metrics": {"scene": None, "scene_count": None}}  # one clip failed, not two
    assert _counts([read, read, unreadable, {"metrics": {}}]) == {"measured": 2, "n/a": 1, "failed": 1}
    assert _counts([read]) == {"measured": 1, "failed": 0}
    assert _counts([{"metrics": {}}] * 8) == {"measured": 0, "n/a": 8, "failed": 0}
