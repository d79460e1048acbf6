"""Stage `evaluate`: one evaluator on one method's prompts and clips."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vpo.build import Spec, batch_size_of, card_of
from vpo.cards import LONGEST_ANSWER, MOST_ANSWERS, Answered, EvaluatorCard, MeanOfClips, Weighted
from vpo.errors import UserError
from vpo.interfaces import Evaluator
from vpo.records import Clip, Failure, Prompt, Query, Rival, Sample, Score, Verdict
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.copies import copy_id, never_given
from vpo.stages.score import absolute
from vpo.stages.stage import Node, Stage
from vpo.storage.redact import redact_text
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """One evaluator measures one method's prompts or clips.

    The evaluator gets those of the optional inputs that its card asks for. Every test query is in one of two files:

    - `items.jsonl`: what was measured, {"query_id", "metrics": {name: number or None}}, "weights" where the evaluator gave some, and
      "clip_counts": {name: [clips measured, clips failed]} of metrics of several clips, "answers" of a model that it asked,
      {what was asked: the answer in one line};
    - `failed.jsonl`: the queries whose prompt failed, or on which the evaluator did, with the metrics that would have applied:
      None, but for counts of what failed (`EvaluatorCard.lost`).
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
    copies: int | None = None  # clips of a prompt
    rivals: Mapping[str, Entry] | None = (
        None  # "<method>.prompts", and "<method>.clips" if the evaluator looks at clips
    )

    def node(self) -> dict[str, Any]:
        """The node with the version that the evaluator's card says, and what stands in files that the evaluator names."""
        node = super().node() | {
            "evaluator": with_contents(self.evaluator),
            "version": card_of(self.evaluator).version,
        }
        return node | ({"clip_counts": True} if self.copies else {})  # which rows of several clips did not always have

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        card, samples = card_of(self.evaluator), self._samples()
        items = [one for one in samples if isinstance(one.prompt, Prompt)]
        done = context.complete(
            items, folder / "items.jsonl", kind=dict,
            make=Spec(self.evaluator),
            call=partial(
                measure, clips=self.clips.folder / "clips" if self.clips else None, rivals=self._rival_folders(),
                card=replace(card, applies=None, lost=None),  # which need not be picklable
            ),
            item_id=query_id, batch_size=max(1, len(items)) if card.whole else batch_size_of(self.evaluator), label=self.label,
            whole=card.whole,
        )  # fmt: skip
        measured = {row["query_id"] for row in done.records}
        failed = [
            {"query_id": one.query.id, **_row(card.failed_row(one), card, self.copies or 1)}
            for one in samples
            if one.query.id not in measured
        ]
        write_rows(folder / "failed.jsonl", failed)
        return _counts([*done.records, *failed])

    def metrics_by(self) -> dict[str, str]:
        """The argument of the evaluator on which a metric rests, by the metric's name, where its card says so."""
        return {one.name: one.by for one in card_of(self.evaluator).metrics if one.by}

    def _samples(self) -> list[Sample]:
        """One sample a test query; the prompt of a query on which the method failed is that failure."""
        prompt_of = _finder(self.prompts, "prompts.jsonl", Prompt, "query_id")
        clip_of = _finder(self.clips, "clips.jsonl", Clip, "prompt_id")
        verdict_of = _finder(self.verdicts, "verdicts.jsonl", Verdict, "prompt_id")
        query_verdict_of = _finder(self.query_verdicts, "verdicts.jsonl", Verdict, "prompt_id")
        score_of = _finder(self.scores, "scores.jsonl", Score, "prompt_id")
        rivals_of = self._rival_finder()
        samples = []
        for query in self.queries.rows("test.jsonl", Query):
            prompt = prompt_of(query.id)
            key = prompt.id if isinstance(prompt, Prompt) else ""
            clips, scores = self._each(clip_of, key), self._each(score_of, key)
            samples.append(
                Sample(query, prompt, clips, verdict_of(key), query_verdict_of(query.id), scores, rivals_of(query.id))
            )
        return samples

    def _each(self, find: Callable[[str], R | Failure | None], prompt_id: str) -> tuple[R | Failure, ...]:
        """What was made of each clip of a prompt; nothing where it was not asked for, or was never given."""
        found = [find(copy_id(prompt_id, number) if prompt_id else "") for number in range(self.copies or 1)]
        return tuple(
            one
            for number, one in enumerate(found)
            if one is not None and not (isinstance(one, Failure) and never_given(one, number))
        )

    def _rival_names(self) -> list[str]:
        """The methods with which this one is compared."""
        return [name.removesuffix(".prompts") for name in self.rivals or {} if name.endswith(".prompts")]

    def _rival_folders(self) -> dict[str, Path]:
        """Where the clips of each rival lie."""
        rivals = self.rivals or {}
        return {
            name: rivals[f"{name}.clips"].folder / "clips" for name in self._rival_names() if f"{name}.clips" in rivals
        }

    def _rival_finder(self) -> Callable[[str], tuple[Rival, ...]]:
        """Finds what each rival made of a query, by the query's id."""
        entries = self.rivals or {}
        finders = {
            name: (
                _finder(entries[f"{name}.prompts"], "prompts.jsonl", Prompt, "query_id"),
                _finder(entries.get(f"{name}.clips"), "clips.jsonl", Clip, "prompt_id"),
            )
            for name in self._rival_names()
        }

        def found(query_id: str) -> tuple[Rival, ...]:
            rivals = []
            for name, (prompt_of, clip_of) in finders.items():
                prompt = prompt_of(query_id)
                assert prompt is not None  # only an input that is not there gives None
                clips = self._each(clip_of, prompt.id if isinstance(prompt, Prompt) else "")
                rivals.append(Rival(name, prompt, clips))
            return tuple(rivals)

        return found


def measure(
    evaluator: Evaluator,
    samples: Sequence[Sample],
    *,
    card: EvaluatorCard,
    clips: Path | None,
    rivals: Mapping[str, Path] | None = None,
) -> list[dict[str, Any] | Failure]:
    """This evaluator's metrics of each sample.

    Raises:
        UserError: A metric that its card does not list; any error where samples are measured together, since no part of them can be.
    """
    found = [replace(one, clips=_absolute(one.clips, clips)) for one in samples] if clips else samples
    if rivals:
        found = [replace(one, rivals=tuple(_with_places(rival, rivals) for rival in one.rivals)) for one in found]
    try:
        measured = evaluator.measure(found)
    except Exception as error:
        if not card.whole or isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"evaluator {card.name}: it measures all prompts together and failed on them ({type(error).__name__}: {reason}); "
            "correct it, or leave it out"
        ) from error
    return [
        metrics
        if isinstance(metrics, Failure)
        else {"query_id": one.query.id, **_row(metrics, card, max(len(one.clips), len(one.scores)))}
        for one, metrics in zip(samples, measured, strict=True)
    ]


def _absolute(clips: Sequence[Clip | Failure], folder: Path) -> tuple[Clip | Failure, ...]:
    return tuple(absolute(one, folder) if isinstance(one, Clip) else one for one in clips)


def _with_places(rival: Rival, folders: Mapping[str, Path]) -> Rival:
    return replace(rival, clips=_absolute(rival.clips, folders[rival.method])) if rival.clips else rival


def query_id(sample: Sample) -> str:
    """The id of the sample's query."""
    return sample.query.id


def _row(metrics: Mapping[str, float | Weighted | None], card: EvaluatorCard, clips: int) -> dict[str, Any]:
    """{"metrics": numbers by name} and, where there are some, {"weights": by name} and "answers"; what is not finite is None.

    Of a query with several clips also {"clip_counts": {name: [measured, failed]}}; a metric that failed has failed on all of them.
    """
    for name, value in metrics.items():
        listed = card.metric_of(name)
        if listed is None:
            raise UserError(f"evaluator {card.name}: it measures {name!r}, which its card does not list; add it there")
        if isinstance(value, Weighted) and listed.mean_of_items:
            raise UserError(
                f"evaluator {card.name}: {name!r} has weights, but its aggregate counts each item once; name another one in the "
                "card, such as vpo.results.aggregates.WeightedMean"
            )
    numbers = {name: one.value if isinstance(one, Weighted) else one for name, one in metrics.items()}
    numbers = {name: None if one is None or not math.isfinite(one) else float(one) for name, one in numbers.items()}
    weights = {name: float(one.weight) for name, one in metrics.items() if isinstance(one, Weighted)}
    counts = {
        name: [one.tried - one.failed, one.failed] if isinstance(one, MeanOfClips | Weighted) else [0, clips]
        for name, one in metrics.items()
        if numbers[name] is None or isinstance(one, MeanOfClips | Weighted)
    }
    several = {name: one for name, one in counts.items() if sum(one) > 1}
    answers = answers_kept(metrics.answers) if isinstance(metrics, Answered) else {}
    more = {"weights": weights, "clip_counts": several, "answers": answers}
    return {"metrics": numbers} | {name: one for name, one in more.items() if one}


def answers_kept(answers: Mapping[str, str]) -> dict[str, str]:
    """At most MOST_ANSWERS as they are written down: without secrets, each in one line of at most LONGEST_ANSWER characters."""
    kept = list(answers.items())[:MOST_ANSWERS]
    return {redact_text(asked): " ".join(redact_text(said).split())[:LONGEST_ANSWER] for asked, said in kept}


def _finder(entry: Entry | None, file: str, kind: type[R], field: str) -> Callable[[str], R | Failure | None]:
    """Finds the record of an optional input by a field; without the input None.

    What stands in the place of a record that is not there is its own failure (which has the id of its item, the same), or one
    that says that an earlier stage had failed already.
    """
    if entry is None:
        return lambda key: None
    found = {getattr(one, field): one for one in entry.rows(file, kind)} | entry.failures(file)
    missing = Failure("missing", f"no {kind.__name__.lower()}: what it is made from has failed")
    return lambda key: found.get(key, missing)


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many queries were measured, how many have no such metric ("n/a"), and on how many a metric failed."""
    failed = sum(None in row["metrics"].values() for row in rows)
    missing = sum(not row["metrics"] for row in rows)
    return {"measured": len(rows) - failed - missing} | ({"n/a": missing} if missing else {}) | {"failed": failed}
