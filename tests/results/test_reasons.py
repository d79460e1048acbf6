"""Why measurements failed, in a few lines."""

from vpo.results.reasons import MOST, reason_lines


def item(*failures):
    return {"failures": {place: {"kind": kind, "detail": detail} for place, kind, detail in failures}}


def test_the_most_frequent_reasons_come_first_and_a_prompts_clips_count_together():
    items = [item(("evaluate motion", "flat", "x" * 300)), {}, item()]
    items.append(item(("render", "timeout", "no\n answer"), ("render #1", "timeout", "")))
    assert reason_lines(items) == [
        "render: 2 clips failed: timeout: no answer",
        f"motion: 1 measurement failed: flat: {'x' * 176} ...",
    ]
    assert len(reason_lines([item(("score", f"kind {number}", "")) for number in range(9)])) == MOST
    assert reason_lines([{}]) == []
