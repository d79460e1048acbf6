"""What the stage `evaluate` counts."""

from tests.evaluator.judged import sample
from vpo.cards import LONGEST_ANSWER, MOST_ANSWERS, Answered, EvaluatorCard, Metric
from vpo.stages.evaluate import _counts, answers_kept, measure


class Asking:
    """An evaluator that asked a model."""

    def measure(self, samples):
        return [Answered({"m": 1.0}, {"clip 1": "All is\n there."}), {"m": 0.0}]


def test_answers_stand_beside_the_metrics():
    card = EvaluatorCard("asking", "1", (Metric("m", "M"),))
    rows = measure(Asking(), [sample("a"), sample("b")], card=card, clips=None)
    assert rows == [
        {"query_id": "q", "metrics": {"m": 1.0}, "answers": {"clip 1": "All is there."}}, {"query_id": "q", "metrics": {"m": 0.0}},
    ]  # fmt: skip


def test_what_is_kept_of_answers_is_bounded_and_without_secrets(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "s3cret-of-mine")
    kept = answers_kept(
        {"a": "x" * (LONGEST_ANSWER - 5) + "s3cret-of-mine", **{str(n): "y" for n in range(MOST_ANSWERS)}}
    )
    assert len(kept) == MOST_ANSWERS
    assert kept["a"] == "x" * (LONGEST_ANSWER - 5) + "***"  # and not the first five letters of it
    assert answers_kept({"b": "The key api_key=abcdefgh1234 is mine."}) == {"b": "The key api_key=*** is mine."}


def test_a_query_is_measured_or_has_no_such_metric_or_failed():
    read = {"metrics": {"scene": 0.5, "scene_count": 0.0}}
    unreadable = {"metrics": {"scene": None, "scene_count": None}}  # one clip failed, not two
    assert _counts([read, read, unreadable, {"metrics": {}}]) == {"measured": 2, "n/a": 1, "failed": 1}
    assert _counts([read]) == {"measured": 1, "failed": 0}
    assert _counts([{"metrics": {}}] * 8) == {"measured": 0, "n/a": 8, "failed": 0}
