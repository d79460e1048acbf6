"""Stage `winners`: what an evolution gave, as SFT data, as a data set, and as a curve."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from vpo.errors import UserError
from vpo.feedback.evolve import Point, curve, winner
from vpo.feedback.groups import by_query
from vpo.records import Evolved, Example, Query
from vpo.stages.context import Context
from vpo.stages.curve import draw
from vpo.stages.evolve import read_pool
from vpo.stages.stage import Stage
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry

REWRITE = "rewrite"  # of `Query.meta`: a given prompt


@dataclass(frozen=True, kw_only=True)
class Winners(Stage):
    """The best prompt of each evolved query becomes SFT data.

    Writes `rows.jsonl` (what SFT learns), `evolved.jsonl` (all prompts with rewards, parents and generations), `curve.csv` and
    `curve.png`; and in `dataset/` the splits of the data set (`sft.jsonl` with the winners as given rewrites, the others as they
    were), which dataset=evolved reads.
    """

    name: ClassVar[str] = "winners"

    queries: Entry
    generations: Sequence[Entry]
    rewards: Sequence[Entry]
    reward: str  # how it is called on the curve
    weights: Mapping[str, float] | None = None
    least: Mapping[str, float] | None = None

    def work(self, context: Context, folder: Path) -> dict[str, int | str]:
        pool = read_pool(self.generations, self.rewards, self.weights)
        points = curve(pool)
        if not points:
            raise UserError(
                "winners: no query has a reward; see why in the failures of the stage before, then start again"
            )
        own = by_query(pool)
        best = {name: won for name, group in own.items() if (won := winner(group, self.least)) is not None}
        self._write_splits(folder, best)
        write_rows(folder / "rows.jsonl", [Example(one.query_id, one.query, one.text) for one in best.values()])
        write_rows(folder / "evolved.jsonl", pool)
        write_curve(folder / "curve.csv", points)
        draw(folder / "curve.png", points, pool, self.reward)
        last = points[-1]
        return {
            "queries": len(own),
            "winners": len(best),
            "reward": f"{points[0].best} to {last.best}",
            "gain": f"{last.gain}",
        }

    def _write_splits(self, folder: Path, best: Mapping[str, Evolved]) -> None:
        """The data set's splits: of `sft` the queries that have a winner."""
        splits = folder / "dataset"
        splits.mkdir(exist_ok=True)
        for path in sorted(self.queries.folder.glob("*.jsonl")):
            rows = self.queries.rows(path.name, Query)
            if path.stem == "sft":
                rows = [replace(one, meta={**one.meta, REWRITE: best[one.id].text}) for one in rows if one.id in best]
            write_rows(splits / path.name, rows)


def write_curve(path: Path, points: Sequence[Point]) -> None:
    """The curve as numbers: means with the half widths of their 95 % intervals."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["generation", "best", "best_ci95", "gain", "gain_ci95", "new", "new_ci95", "queries", "prompts", "failed"]
        )
        for one in points:
            means = [
                part
                for mean in (one.best, one.gain, one.new)
                for part in ((mean.value, mean.half) if mean else (None, None))
            ]
            writer.writerow([one.generation, *means, one.best.n, one.prompts, one.failed])
