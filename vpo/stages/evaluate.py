"""Stage `evaluate`: one evaluator on one method's prompts and clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vpo.build import Spec, batch_size_of
from vpo.interfaces import Evaluator
from vpo.records import Clip, Failure, Prompt, Query, Sample, Score, Verdict
from vpo.stages.context import Context
from vpo.stages.score import absolute
from vpo.stages.stage import Node, Stage
from vpo.store import Entry

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """One evaluator measures one method's prompts or clips.

    Writes `items.jsonl`: query_id and this evaluator's metrics, one line a test query. The evaluator gets those of the optional
    inputs that its class asks for.
    """

    name: ClassVar[str] = "evaluate"

    evaluator_name: str
    evaluator: Node
    queries: Entry
    prompts: Entry
    clips: Entry | None = None
    verdicts: Entry | None = None
    query_verdicts: Entry | None = None
    scores: Entry | None = None

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        done = context.complete(
            self._samples(), folder / "items.jsonl", kind=dict, make=Spec(self.evaluator),
            call=partial(measure, clips=self.clips.folder / "clips" if self.clips else None),
            item_id=query_id, batch_size=batch_size_of(self.evaluator), label=self.label,
        )  # fmt: skip
        return _counts(done.records) | {"failed": len(done.failures)}

    def _samples(self) -> list[Sample]:
        query_of = {query.id: query for query in self.queries.rows("test.jsonl", Query)}
        clip_of = _by(self.clips, "clips.jsonl", Clip, "prompt_id")
        verdict_of = _by(self.verdicts, "verdicts.jsonl", Verdict, "prompt_id")
        query_verdict_of = _by(self.query_verdicts, "verdicts.jsonl", Verdict, "prompt_id")
        score_of = _by(self.scores, "scores.jsonl", Score, "prompt_id")
        return [
            Sample(
                query_of[one.query_id], one, clip_of.get(one.id), verdict_of.get(one.id),
                query_verdict_of.get(one.query_id), score_of.get(one.id),
            )
            for one in self.prompts.rows("prompts.jsonl", Prompt)
        ]  # fmt: skip


def measure(evaluator: Evaluator, samples: Sequence[Sample], *, clips: Path | None) -> list[dict[str, Any] | Failure]:
    """This evaluator's metrics of each sample."""
    found = [one if one.clip is None else replace(one, clip=absolute(one.clip, clips)) for one in samples]
    return [
        metrics if isinstance(metrics, Failure) else {"query_id": one.query.id, "metrics": dict(metrics)}
        for one, metrics in zip(samples, evaluator.measure(found), strict=True)
    ]


def query_id(sample: Sample) -> str:
    """The id of the sample's query."""
    return sample.query.id


def _by(entry: Entry | None, file: str, kind: type[R], field: str) -> dict[str, R | Failure]:
    """The records of an optional input by a field, and its failures by the id of their item, which is the same."""
    if entry is None:
        return {}
    return {getattr(one, field): one for one in entry.rows(file, kind)} | entry.failures(file)


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many queries were measured, how many have no such metric ("n/a"), and of how many a metric could not be read."""
    unread = sum(None in row["metrics"].values() for row in rows)
    missing = sum(not row["metrics"] for row in rows)
    return {"measured": len(rows) - unread - missing} | ({"n/a": missing} if missing else {}) | {"unread": unread}
