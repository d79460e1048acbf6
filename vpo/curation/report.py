"""What curation did, for people: counts after each rule, examples of what was dropped and why, and how long the queries are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vpo.charts import GREY, LIGHT, new_figure, style_axis
from vpo.curation.screening import Shown, Step
from vpo.storage.jsonio import write_json

LONGEST = 60  # words from which queries share the histogram's last bar
_COLOURS = ("#8c959f", "#0969da")


@dataclass
class Report:
    """The account of one curation.

    Attributes:
        seed: of all draws.
        steps: what each rule did, in their order.
        splits: by split, {"general": queries, "safety": queries}.
        held_out: by split of the data set that stays as it is, its queries.
        lengths: {"read" or "kept": {words: queries}}; kept are those that are dealt to splits.
        labelled: queries that their labels call toxic; None where no query has labels.
        notes: what a reader should know, such as that no query has labels.
    """

    seed: int
    steps: list[Step] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    held_out: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    labelled: int | None = None
    notes: list[str] = field(default_factory=list)

    def step(self, rule: str) -> Step:
        """A new step at the end."""
        self.steps.append(Step(rule, self.seed))
        return self.steps[-1]

    def write(self, folder: Path) -> None:
        """Write report.json, report.md and lengths.png."""
        folder.mkdir(exist_ok=True)
        write_json(folder / "report.json", self.to_json(), indent=1)
        (folder / "report.md").write_text(self.to_markdown(), encoding="utf-8")
        draw_lengths(self.lengths, folder / "lengths.png")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "seed": self.seed,
            "steps": [
                {"rule": one.rule, "before": one.before, "dropped": one.dropped, "failed": one.failed, "after": one.after,
                 "examples": [asdict(example) for example in one.examples],
                 "failures": [asdict(example) for example in one.failures]}
                for one in self.steps
            ],
            "splits": self.splits,
            "held_out": self.held_out,
            "lengths": {name: {str(words): counts[words] for words in sorted(counts)} for name, counts in self.lengths.items()},
            "labelled": self.labelled,
            "notes": self.notes,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The counts, a line a rule and a split, for the console."""
        width = max((len(one.rule) for one in self.steps), default=0)
        shown = [
            f"{one.rule:<{width}}  {one.after:>9,} left, {one.dropped:,} dropped"
            + (f", {one.failed:,} failed" if one.failed else "")
            for one in self.steps
        ]
        dealt = [f"{name}: {sum(parts.values()):,} queries, {safety_of(parts)}" for name, parts in self.splits.items()]
        return [*shown, *dealt, *self.notes]

    def to_markdown(self) -> str:
        """The report as a page."""
        rows = [
            [one.rule, f"{one.before:,}", f"{one.dropped:,}", f"{one.failed:,}", f"{one.after:,}"] for one in self.steps
        ]
        dealt = [[name, f"{sum(parts.values()):,}", safety_of(parts)] for name, parts in self.splits.items()]
        dealt += [[name, f"{count:,}", "as the data set gives them"] for name, count in self.held_out.items()]
        parts = [
            "# Curation",
            f"Drawn with seed {self.seed}. Rules in their order; each reads what the one before has left.",
            *[f"**{note}**" for note in self.notes],
            _table(["rule", "before", "dropped", "failed", "after"], rows),
            "## Splits",
            _table(["split", "queries", ""], dealt),
            "## Length",
            "![Words a query](lengths.png)",
            "## What was dropped",
        ]
        parts += [part for step in self.steps for part in _examples(step.rule, step.examples)]
        failed = [part for step in self.steps for part in _examples(step.rule, step.failures)]
        parts += ["## What failed", *failed] if failed else []
        return "\n\n".join(parts) + "\n"


def _examples(rule: str, shown: Sequence[Shown]) -> list[str]:
    rows = [[one.id, one.text, one.reason] for one in shown]
    return [f"### {rule}", _table(["id", "query", "why"], rows)] if rows else []


def safety_of(parts: Mapping[str, int]) -> str:
    """How many of a split's queries are safety queries, in words."""
    total = sum(parts.values())
    return f"{parts['safety']:,} of them safety queries ({parts['safety'] / total:.1%})" if total else "none"


def draw_lengths(lengths: Mapping[str, Mapping[int, int]], path: Path) -> None:
    """Draw how many words queries have, as shares of those that were read and of those that were kept: the PNG of a report.

    Args:
        lengths: {name: {words: queries}}, one panel a name.
        path: the file to write.
    """
    figure = new_figure(7, 2.2 * len(lengths), dpi=130)
    panels = figure.subplots(len(lengths), 1, squeeze=False, sharex=True)[:, 0]
    for panel, colour, (name, counts) in zip(panels, _COLOURS, lengths.items(), strict=False):
        total = sum(counts.values())
        heights = [counts.get(words, 0) for words in range(LONGEST)]
        heights.append(total - sum(heights))
        panel.bar(range(LONGEST + 1), [100 * one / max(1, total) for one in heights], width=0.9, color=colour)
        style_axis(panel, f"{name}: {total:,} queries, median {_median(counts)} words")
        panel.set_ylabel("% of queries", fontsize=8, color=GREY)
        panel.grid(axis="y", color=LIGHT, lw=0.5)
        panel.set_axisbelow(True)
    ticks = range(0, LONGEST + 1, 10)
    panels[-1].set_xticks(list(ticks), [*map(str, ticks[:-1]), f"{LONGEST}+"])
    panels[-1].set_xlabel("words, without flags", fontsize=8, color=GREY)
    figure.savefig(path)


def _median(counts: Mapping[int, int]) -> int:
    """The lower median of counted numbers; 0 of none."""
    seen, half = 0, (sum(counts.values()) + 1) // 2
    for number in sorted(counts):
        seen += counts[number]
        if seen >= half:
            return number
    return 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """A text as it may stand in a Markdown table: shown as it is, whatever it holds."""
    for mark in "\\`*_<>[]|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
