"""The metrics of a run, as the cards of its evaluators describe them: what they are called, which direction is better, in which order.

Results of an older version come without cards, and a plugin's item may hold what no card lists: such a metric is shown under its
own name, without a direction, with three decimals.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from vpo.cards import Derived, Metric

Cards = Mapping[str, Mapping[str, Any]]  # results.json's "evaluators": name in the config -> card

_FIELDS = tuple(field.name for field in fields(Metric))


class Metrics:
    """Finds metrics by name. False in a condition where no card lists any.

    Attributes:
        groups: the metrics of each evaluator, with those that it derives.
        derived: the numbers that are made of others, each once.
    """

    def __init__(self, cards: Cards) -> None:
        derived = {name: [_derived(one) for one in card.get("derived", ())] for name, card in cards.items()}
        self.derived = list({one.metric.name: one for group in derived.values() for one in group}.values())
        self.groups: list[list[Metric]] = [
            [*map(_metric, card["metrics"]), *(one.metric for one in derived[name])] for name, card in cards.items()
        ]
        self._listed = {one.name: one for group in self.groups for one in group}
        of_group = zip(cards, self.groups, strict=True)
        self._evaluators = {one.name: evaluator for evaluator, group in of_group for one in group}

    def derived_of(self, name: str) -> Derived | None:
        """How a number is made of others; None where it is not."""
        return next((one for one in self.derived if one.metric.name == name), None)

    def can_be_compared(self, name: str) -> bool:
        """Whether two methods can be compared by it query by query: a mean over the queries, or what is made of such means."""
        derived = self.derived_of(name)
        return all(self[one].pairs and not self[one].across for one in ([name] if derived is None else derived.of))

    @classmethod
    def of_all(cls, cards: Iterable[Cards]) -> "Metrics":
        """The metrics of several runs; where their evaluators differ the first one's card counts."""
        merged: dict[str, Mapping[str, Any]] = {}
        for one in cards:
            merged = {**one, **merged}
        return cls(merged)

    @property
    def listed(self) -> list[Metric]:
        """All metrics of the cards, in their order."""
        return list(self._listed.values())

    def __bool__(self) -> bool:
        return bool(self._listed)

    def __contains__(self, name: str) -> bool:
        """Whether a card lists it; of parts only runs know the names."""
        return name in self._listed

    def __getitem__(self, name: str) -> Metric:
        """How the metric, or part of a metric, of this name is printed; a name that no card lists gets plain defaults."""
        if name in self._listed:
            return self._listed[name]
        whole = self.whole_of(name)
        if whole is None:
            return Metric(name, name)
        part = name.removeprefix(f"{whole.name}_").replace("_", " ")
        about = f"the part '{part}' of {whole.name}"
        return replace(whole, name=name, label=f"{whole.label}: {part.lower()}", about=about, main=False, parts=False)

    def whole_of(self, name: str) -> Metric | None:
        """The metric of which this one is a part: `reward` of "reward_Stability"; None for a metric of its own."""
        if name in self._listed:
            return None
        fits = [one for one in self._listed.values() if one.parts and name.startswith(f"{one.name}_")]
        return max(fits, key=lambda one: len(one.name), default=None)

    def evaluator_of(self, name: str) -> str | None:
        """The config's name of the evaluator that measures it; None where no card lists it."""
        whole = self.whole_of(name)
        return self._evaluators.get(name if whole is None else whole.name)

    def flag_of(self, name: str) -> str | None:
        """The key of `trained_on` in results that tells of it (`vpo.results.held_out`); None where no card lists it."""
        evaluator = self.evaluator_of(name)
        return f"{evaluator}/{name}" if self[name].by else evaluator

    def in_order(self, names: Collection[str]) -> list[str]:
        """The names as the cards list them, each with its parts after it, then unknown ones by name."""
        order = list(self._listed)

        def rank(name: str) -> tuple[int, str]:
            whole = self.whole_of(name)
            head = name if whole is None else whole.name
            return (order.index(head), name.removeprefix(head)) if head in self._listed else (len(order), name)

        return sorted(names, key=rank)

    def main(self, measured: Collection[str]) -> list[str]:
        """The columns of a run's main table: of each evaluator the main metrics that were measured.

        An evaluator that could measure nothing keeps its first main column. Without cards, all that was measured.
        """
        if not self:
            return list(measured)
        columns: list[str] = []
        for group in self.groups:
            main = [one.name for one in group if one.main]
            found = any(one.name in measured for one in group)
            columns += [name for name in main if name in measured] if found else main[:1]
        return list(dict.fromkeys(columns))  # two evaluators may derive the same number


def _metric(card: Mapping[str, Any]) -> Metric:
    return Metric(**{name: value for name, value in card.items() if name in _FIELDS})


def _derived(card: Mapping[str, Any]) -> Derived:
    return Derived(_metric(card), tuple(card["of"]), tuple(card.get("unless", ())), card.get("whole", {}))


def without_items(cards: Cards, items: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the evaluators that applied to no item: no row holds a metric of theirs, not even one that failed."""
    metrics = Metrics(cards)
    seen = {metrics.evaluator_of(name) for name in {name for item in items for name in item["metrics"]}}
    return [name for name in cards if name not in seen]


def are_cards(value: Any) -> bool:
    """Whether a value read from a file has the form of `Cards`."""

    def named(metric: Any) -> bool:
        return isinstance(metric, Mapping) and all(isinstance(metric.get(key), str) for key in ("name", "label"))

    def whole(card: Any) -> bool:
        metrics = card.get("metrics") if isinstance(card, Mapping) else None
        if not (isinstance(metrics, Sequence) and bool(metrics) and all(map(named, metrics))):
            return False
        derived = card.get("derived", ())
        return isinstance(derived, Sequence) and all(
            named(one) and isinstance(one.get("of"), Sequence) for one in derived
        )

    return isinstance(value, Mapping) and all(map(whole, value.values()))
