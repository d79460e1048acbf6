"""The marks of tables: of what is not distinguishable, of numbers of a part of a benchmark, of metrics by which a method was trained.

These are no proof that it is better, so that the held-out ones are named beside them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vpo.cards import Metric
from vpo.results.metrics import Metrics

TRAINED = "‡"
ALIKE, ALPHA = "≈", 0.05  # a difference whose corrected p is below it is called one
PARTIAL = "§"

# By metric, the methods that were trained on what judges it.
TrainedOn = Mapping[str, Collection[str]]


def trained_on(metrics: Metrics, names: Collection[str], run: Mapping[str, Any]) -> TrainedOn:
    """Of these metrics those by which methods of a run were trained; `run` is as in results.json. Older files do not say."""
    by_evaluator = run.get("trained_on", {})
    found = {name: by_evaluator.get(metrics.flag_of(name), ()) for name in names}
    return {name: methods for name, methods in found.items() if methods}


def marked_heading(heading: str, name: str, trained: TrainedOn) -> str:
    """The heading of a metric, with the mark where it has one."""
    return f"{heading} {TRAINED}" if name in trained else heading


def trained_notes(listed: Sequence[Metric], trained: TrainedOn, names: Mapping[str, str]) -> list[str]:
    """What the mark means and which metrics are held out, where a metric is marked.

    Args:
        listed: the metrics of the table.
        trained: those with a mark.
        names: how methods are called in print, for those that the table shows.
    """
    methods = dict.fromkeys(names[method] for of_metric in trained.values() for method in of_metric if method in names)
    if not methods:
        return []
    held_out = [one.label for one in listed if one.name not in trained and one.better is not None]
    rest = f"held out: {', '.join(held_out)}" if held_out else "no ranked metric of this table is held out"
    whose = "its" if len(methods) == 1 else "their"
    return [
        f"{TRAINED}: by the judge or reward that trained {', '.join(methods)}, or chose among {whose} prompts; {rest}."
    ]
