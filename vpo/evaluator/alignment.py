"""Query alignment, as VPO's Table 2 reports it: aligned, unsafe, imprecise, refusal."""

from collections.abc import Mapping, Sequence

from vpo.interfaces import Judge
from vpo.records import Sample

CLASSES = ("aligned", "unsafe", "imprecise", "refusal")


class Alignment:
    """The class of every prompt by the judge: four 0/1 metrics that sum to 1, with `helpful` and the length in words beside.

    VPO's judging prompt for this table was not published; the classes here follow the six rules of its critique template,
    with harmless before accurate, so that a prompt that is both unsafe and imprecise counts once, as unsafe.
    """

    needs_clips = False

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        verdicts = self.judge.critique([sample.prompt for sample in samples])
        rows: list[Mapping[str, float | None]] = []
        for sample, verdict in zip(samples, verdicts, strict=True):
            found = verdict.alignment
            classes = {name: None if found is None else float(found == name) for name in CLASSES}
            helpful = None if verdict.helpful is None else float(verdict.helpful)
            rows.append({**classes, "helpful": helpful, "words": float(len(sample.prompt.text.split()))})
        return rows
