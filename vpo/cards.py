"""What an evaluator says of itself: its metrics, how they are read and printed, and what it needs. Standard library only.

No list anywhere knows all metrics. A run keeps the cards of its evaluators in results.json, and tables read them there.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vpo.records import Prompt, Sample

# What an evaluator may ask for beside query and prompt.
NEEDS = ("clips", "verdicts", "query_verdicts", "scores", "rivals")

# How one number is made of all items: by default each item counts once; with weights, as `Weighted` gives them.
MEAN_OF_ITEMS = "vpo.results.aggregates.MeanOfItems"
WEIGHTED_MEAN = "vpo.results.aggregates.WeightedMean"

# Ranges of metrics, see `Metric.range`.
SHARE, COSINE, COUNT, ANY = (0.0, 1.0), (-1.0, 1.0), (0.0, None), (None, None)
# What a card names as its model where the run chooses it: results.json then names that of the run.
JUDGE_OF_RUN, REWARD_OF_RUN = "the judge of the run", "the reward of the run"
LONGEST_ANSWER, MOST_ANSWERS = 1000, 100  # characters of an answer, and answers of an item, that are kept for people


@dataclass(frozen=True)
class Metric:
    """One number that an evaluator measures, and how it is read and printed.

    Attributes:
        name: as in rows and results: "safe_on_unsafe".
        label: as a column is headed, without unit and direction.
        better: which direction is better; None where neither is: such a metric is reported and never ranked.
        unit: of the printed number: "%", "px".
        scale: turns the stored number into the printed one: 100 for shares that are printed as percentages.
        decimals: of the printed number.
        about: a line for readers.
        main: whether the table of a run shows it; the others stand in a second table, in detail.
        parts: whether rows may hold parts of it, `<name>_<part>`, which are printed as the whole is: "reward_Stability".
        aggregate: the dotted name of a `torchmetrics.Metric` that makes one number of all items; see `vpo.results.aggregates`.
        across: whether the number is made of the items of all methods together, so that no row holds it. `aggregate` is a function
            then, from all items to {method: {"mean", "n", "n_failed", "ci95"}}.
        range: the least and the greatest value that the stored number can have, None for an end that it does not have. None for a card
            that does not say it.
        of_set: whether the number is of all prompts together, and an item's value is no measurement of the item but its part of that
            number and of its spread, as `vpo.language.diversity` gives it.
        by: the argument of the evaluator (a judge) that this metric rests on, where most of its others do not: a method that was
            trained on that judge is flagged in this metric alone (`vpo.results.held_out`).
    """

    name: str
    label: str
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    scale: float = 1.0
    decimals: int = 3
    about: str = ""
    main: bool = True
    parts: bool = False
    aggregate: str = MEAN_OF_ITEMS
    across: bool = False
    of_set: bool = False
    by: str = ""
    range: tuple[float | None, float | None] | None = None

    @property
    def mean_of_items(self) -> bool:
        """Whether the number is the plain mean over the queries."""
        return self.aggregate == MEAN_OF_ITEMS

    @property
    def is_share(self) -> bool:
        """Whether the number is a share, printed as a percentage: a single measurement is 0 or 1, that of an item may lie between."""
        return self.unit == "%" and self.scale == 100.0 and not self.of_set

    @property
    def pairs(self) -> bool:
        """Whether two methods can be compared query by query: an interval of the difference is defined for means alone."""
        return self.aggregate in (MEAN_OF_ITEMS, WEIGHTED_MEAN)

    @property
    def heading(self) -> str:
        """The label with unit and direction: "Aligned % ↑"."""
        arrow = {"higher": "↑", "lower": "↓", None: ""}[self.better]
        return " ".join(part for part in (self.label, self.unit, arrow) if part)

    def number(self, value: float, *, sign: bool = False) -> str:
        """A stored value as it is printed: 0.947 of a share is "94.7"; with `sign`, differences get "+" or "-"."""
        text = f"{value * self.scale:{'+' if sign else ''}.{self.decimals}f}"
        return text.lstrip("+-") if float(text) == 0 else text  # no "-0.0"


def share(name: str, label: str, better: Literal["higher", "lower"] | None, about: str, **more: Any) -> Metric:
    """A metric in 0..1 that is printed as a percentage."""
    return Metric(
        name, label, better, **{"unit": "%", "scale": 100.0, "decimals": 1, "about": about, "range": SHARE, **more}
    )


@dataclass(frozen=True)
class Derived:
    """A number that is made of a method's other numbers, such as a benchmark's total.

    Its interval is found by drawing the queries again; it has none where one of its numbers is no mean over them.

    Attributes:
        metric: how it is printed. Its `aggregate` is the dotted name of a function from {metric: number} of `of` to the number, or
            None where there is none.
        of: the names of the metrics that it is made of, of this evaluator or of others. It is shown where all of them are there.
        unless: it is not shown where one of these metrics is there and is not 0, as where a benchmark's prompts are mixed with others.
        whole: on how many queries the whole benchmark measures some of `of`. A number that is made of fewer is marked as one of a
            part. What the benchmark itself leaves out of some queries is not in it.
    """

    metric: Metric
    of: tuple[str, ...]
    unless: tuple[str, ...] = ()
    whole: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a card in results.json keeps it."""
        own = {"mean_of_items": False, "of": list(self.of), "unless": list(self.unless), "whole": dict(self.whole)}
        return {**dataclasses.asdict(self.metric), **own}


@dataclass(frozen=True)
class EvaluatorCard:
    """What an evaluator measures and needs, known before it is built; results.json keeps it.

    Attributes:
        name: for people.
        version: part of the key of its results: another version measures anew.
        metrics: in the order in which they are shown.
        needs: which inputs it reads, of NEEDS.
        about: a line for readers: method and source.
        applies: from a sample to the names of the metrics (and parts) that apply to it, where not all of `metrics` apply to every
            query. Asked where measuring failed: these have failed. It must do with any part of the sample being a Failure.
        lost: from a sample with a prompt on which the evaluator failed to the metrics that have a value all the same, such as the
            share of clips that failed. None where there are none.
        whole: whether a query's numbers depend on the other prompts of the method, as those of diversity do. Then `measure` is given
            all samples at once, and what it raises ends the stage.
        derived: numbers that are made of the metrics' numbers, of several evaluators where these name the same.
        rewards: the metrics that are what a reward says of a clip as a whole, the run's or one of the evaluator's own. They are drawn
            against length and motion, where hacking shows (`vpo.results.reward_plots`).
        model: who measures: names and revisions of models, "none", JUDGE_OF_RUN or REWARD_OF_RUN.
        licence: of these models, or of the code where there is none.
    """

    name: str
    version: str
    metrics: tuple[Metric, ...]
    needs: frozenset[str] = frozenset()
    about: str = ""
    applies: Callable[[Sample], Collection[str]] | None = None
    lost: Callable[[Sample], Mapping[str, Any]] | None = None
    whole: bool = False
    derived: tuple[Derived, ...] = ()
    rewards: tuple[str, ...] = ()
    model: str = ""
    licence: str = ""

    def applicable(self, sample: Sample) -> list[str]:
        """The names of the metrics that apply to a sample."""
        return [one.name for one in self.metrics] if self.applies is None else list(self.applies(sample))

    def failed_row(self, sample: Sample) -> dict[str, Any]:
        """The metrics of a sample on which the evaluator failed: None, but for those that have a value all the same."""
        kept = self.lost(sample) if self.lost is not None and isinstance(sample.prompt, Prompt) else {}
        return {**dict.fromkeys(self.applicable(sample)), **kept}

    def metric_of(self, name: str) -> Metric | None:
        """The metric of this name, or that of which it is a part; None where the card lists neither."""
        own = [one for one in self.metrics if one.name == name]
        wholes = [one for one in self.metrics if one.parts and name.startswith(f"{one.name}_")]
        return next(iter([*own, *wholes]), None)

    def to_json(self) -> dict[str, Any]:
        """The card as results.json keeps it."""
        metrics = [{**dataclasses.asdict(one), "mean_of_items": one.mean_of_items} for one in self.metrics]
        needs = [one for one in NEEDS if one in self.needs]
        said = ("name", "version", "about", "model", "licence")
        card = {**{one: getattr(self, one) for one in said}, "needs": needs, "metrics": metrics}
        derived = {"derived": [one.to_json() for one in self.derived]} if self.derived else {}
        return card | derived | ({"rewards": list(self.rewards)} if self.rewards else {})


class MeanOfClips(float):
    """A query's number that is a mean over its clips, with how many these are: a clip that failed must not vanish in the mean.

    Attributes:
        tried: the clips to which the metric applies.
        failed: those of them on which it was not measured; they are not in the mean.
    """

    tried: int
    failed: int

    def __new__(cls, value: float, tried: int, failed: int) -> "MeanOfClips":
        found = super().__new__(cls, value)
        found.tried, found.failed = tried, failed
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return MeanOfClips, (float(self), self.tried, self.failed)


def mean_over_clips(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Of the measurements of a query's clips, one number a metric: the mean over the clips on which it was measured (`MeanOfClips`).

    None where it was measured on none of those to which it applies.
    """
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        tried = [row[name] for row in rows if name in row]
        values = [one for one in tried if one is not None]
        mean = math.fsum(values) / len(values) if values else None
        found[name] = None if mean is None else MeanOfClips(mean, len(tried), len(tried) - len(values))
    return found


class Answered(dict[str, Any]):
    """The metrics of an item, {name: value} as any row, with what a model answered about it.

    Attributes:
        answers: the answers as they came, by what was asked: {"clip 1, gore": "There is blood. Unsafe: 80%"}.
    """

    def __init__(self, metrics: Mapping[str, Any], answers: Mapping[str, str]) -> None:
        super().__init__(metrics)
        self.answers = dict(answers)


@dataclass(frozen=True)
class Weighted:
    """A measurement of one item with its weight, for metrics whose aggregate is no plain mean over the items: frames, clips.

    Raises ValueError where the weight is not a number above 0: what has no weight is left out.

    Attributes:
        tried, failed: of several clips, as in `MeanOfClips`. Not compared: they are no part of the measurement.
    """

    value: float
    weight: float
    tried: int = field(default=1, compare=False)
    failed: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ValueError(f"a weight of {self.weight}; leave out what does not count")

    @classmethod
    def pooled(
        cls, values: Sequence[float], weights: Sequence[float], *, tried: int = 1, failed: int = 0
    ) -> "Weighted":
        """Several measurements of one item (clips of a prompt) as one: their weighted mean, with the sum of their weights."""
        total = math.fsum(weights)
        pooled = math.fsum(value * weight for value, weight in zip(values, weights, strict=True))
        return cls(pooled / total if total > 0 else math.nan, total, tried, failed)
