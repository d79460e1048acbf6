"""Stage `queries` with `curation=...`: the data set's queries by VPO's rules, and its splits (arXiv 2503.20491, section 3.2)."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import Spec, batch_size_of
from vpo.curation import language, near
from vpo.curation.report import Report
from vpo.curation.selecting import Pools, compared, confirmed, dealt, screened
from vpo.errors import UserError
from vpo.records import Prompt, Query, Verdict
from vpo.stages.context import Context
from vpo.stages.critique import critique_prompts
from vpo.stages.queries import SPLITS, TRAINED, Queries, check_splits
from vpo.stages.stage import Node, Stage
from vpo.storage.progress import Bar
from vpo.storage.rows import write_rows
from vpo.targets import has_method

log = logging.getLogger(__name__)

FOLDER = "curation"  # of the report, in the stage's folder and in the run's
REPORT = "report.md"
BAR_STEP = 1000


@dataclass(frozen=True, kw_only=True)
class CuratedQueries(Queries):
    """The data set is read, curated and split by use.

    A data set with `stream()` gives its queries one after another, and all splits are dealt anew. Of any other one those of `sft` and
    `dpo` are curated and dealt anew, and the other splits stay as they are; what repeats one of their queries is dropped.

    Writes what `Queries` writes, and below `curation/` the report and the judge's `verdicts.jsonl`.
    """

    name: ClassVar[str] = "queries"
    runs: ClassVar[tuple[str, ...]] = ("vpo.stages.curate",)

    curation: Node
    judge: Node | None = None

    def exempt_paths(self) -> tuple[str, ...]:
        return (*super().exempt_paths(), *Stage.exempt_paths(self))

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        report = Report(self.curation["seed"])
        held_out, queries = self._read()
        texts = [query.text for split in held_out.values() for query in split]
        with Bar("queries read", total=None) as bar:
            pools = screened(_counted(queries, bar), self.curation, texts, report)
        pools = compared(pools, self.curation, texts, report)
        (folder / FOLDER).mkdir(exist_ok=True)
        if self.judge is not None:
            pools = Pools(pools.general, self._judged(context, folder / FOLDER, pools.labelled, report))
        names = [name for name in SPLITS if name not in held_out]
        splits = dealt(pools, self.curation, names, report) | held_out
        report.held_out = {name: len(split) for name, split in held_out.items()}
        report.write(folder / FOLDER)
        log.info("%s", "\n".join(f"  {line}" for line in report.lines()))
        self._check(splits, report, folder)
        for name, split in splits.items():
            write_rows(folder / f"{name}.jsonl", split)
        dropped = {f"dropped by {step.rule}": step.dropped for step in report.steps if step.dropped}
        failed = sum(step.failed for step in report.steps)
        changes = {**getattr(self._source, "left_out", {}), **getattr(self._source, "changed", {})}
        counts = {name: len(split) for name, split in splits.items()} | dropped | changes
        return counts | ({"failed": failed} if self.judge is not None else {})

    def _read(self) -> tuple[dict[str, Sequence[Query]], Iterable[Query]]:
        """The splits that stay as they are, and the queries to curate."""
        if hasattr(self._source, "stream"):
            return {}, self._source.stream()
        splits = self._source.splits()
        queries = [query for name in TRAINED for query in splits.get(name, ())]
        return {name: split for name, split in splits.items() if name not in TRAINED and split}, queries

    def _judged(self, context: Context, folder: Path, labelled: Sequence[Query], report: Report) -> list[Query]:
        prompts = [Prompt(one.id, one.id, one.text, one.text, "query") for one in labelled]
        done = context.complete(
            prompts, folder / "verdicts.jsonl", kind=Verdict, make=Spec(self.judge), call=critique_prompts,
            item_id=attrgetter("id"), batch_size=batch_size_of(self.judge), label="verdicts on labelled queries",
        )  # fmt: skip
        return confirmed(labelled, {one.prompt_id: one for one in done.records} | done.failures, report)

    def _check(self, splits: Mapping[str, Sequence[Query]], report: Report, folder: Path) -> None:
        """Raise UserError where no queries are left for a split, or where the splits are not apart."""
        empty = next((name for name in SPLITS if not splits.get(name)), None)
        if empty is not None:
            first, last = report.steps[0], report.steps[-1]
            raise UserError(
                f"curation: of {first.before:,} queries {last.before:,} are left, and the split {empty!r} is empty; give more "
                f"queries, loosen what drops them ({folder / FOLDER / REPORT} has examples), or raise curation.split.{empty}"
            )
        check_splits(splits)


def queries_of(config: Mapping[str, Any]) -> Queries:
    """The stage that reads a config's queries: as the data set gives them, or curated."""
    curation = config.get("curation")
    if not curation:
        return Queries(dataset=config["dataset"])
    judge = config["judge"] if curation["safety"]["judged"] and curation["safety"]["share"] else None
    return CuratedQueries(dataset=config["dataset"], curation=curation, judge=judge)


def check_curation(config: Mapping[str, Any]) -> None:
    """Raise UserError for a curation that cannot be done: numbers at odds with one another, a package that is missing."""
    curation = config.get("curation")
    if not curation:
        return
    length, split = curation["length"], curation["split"]
    if length is not None and length["least_words"] > length["most_words"]:
        raise UserError(
            f"config: curation.length.least_words={length['least_words']} is above curation.length.most_words={length['most_words']}"
        )
    for rule, module in (("language", language), ("near", near)):
        if curation[rule] is not None and not module.is_installed():
            raise UserError(
                f"config: curation.{rule} needs {module.PACKAGE}: pip install 'vpo[curation]', or set curation.{rule}=null"
            )
    if curation["language"] is not None and not curation["language"]["allowed"]:
        raise UserError(
            "config: curation.language.allowed=[] drops everything; name a language, or set curation.language=null"
        )
    blank = [one for one in curation["keywords"] or [] if not one.strip()]
    if blank:
        raise UserError(f"config: curation.keywords holds {blank[0]!r}, which every query has; take it out")
    check_amounts(config["dataset"], split)
    least = [name for name in TRAINED if not split[name]]
    if least:
        raise UserError(f"config: curation.split.{least[0]}=0 leaves nothing to train on; set it to at least 1")


def check_amounts(dataset: Node, split: Mapping[str, int]) -> None:
    """Raise UserError where a data set that is streamed is asked for other numbers of queries than the curation, which deals them."""
    if not has_method(dataset["_target_"], "stream"):
        return
    for name in SPLITS:
        if name in dataset and dataset[name] != split[name]:
            raise UserError(
                f"config: dataset.{name}={dataset[name]} is not what is dealt, as curation.split.{name}={split[name]}; set "
                f"curation.split.{name}={dataset[name]} in its place, or take the data set as it is by curation=none"
            )


def _counted(queries: Iterable[Query], bar: Bar) -> Iterator[Query]:
    """The queries as they come, shown by a bar."""
    for number, query in enumerate(queries, start=1):
        if number % BAR_STEP == 0:
            bar.advance(BAR_STEP)
        yield query
