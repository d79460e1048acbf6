"""The cost table of `vpo plan`, and the lines below it: totals, what dominates, what adaptive choices would save."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.costs.counting import Counting, competing, flawed_share, splits_of
from vpo.costs.figures import Figure, exact, total
from vpo.costs.known import Known, known
from vpo.costs.stages import Cost, costs_of, measured_seconds
from vpo.storage.store import Entry

HEAD = ("stage", "items", "s/item", "GPU-hours", "bytes", "tokens", "money", "known by")
# What a stage's time grows with, to be named where the stage dominates.
GROWS = {
    "render": ("sampling.k", "generator.steps", "generator.frames", "generator.height", "generator.width"),
    "score": ("sampling.k", "reward.frames"), "sample": ("sampling.k", "plan.completion_tokens"),
    "critique": ("sampling.k", "judge.max_new_tokens"), "refine": ("judge.max_new_tokens",),
    "sft": ("sft.epochs",), "dpo": ("objective.epochs",), "reference": ("sampling.k",),
}  # fmt: skip


def cost_lines(
    config: Mapping[str, Any],
    choices: Mapping[str, str | None],
    stages: Sequence[tuple[Any, Entry]],
    root: Path,
    own: Mapping[str, int] | None = None,
) -> list[str]:
    """A table for the config's own queries, or one for each number in plan.queries.

    Args:
        config, choices: composed.
        stages: of the plan, each result once.
        root: the store.
        own: the config's own queries by use, where they could be counted.
    """
    asked = config["plan"]["queries"]
    numbers = asked if isinstance(asked, list) else [asked]
    return [line for number in numbers for line in ["", *_table(config, choices, stages, root, own, number)]]


def _table(
    config: Mapping[str, Any],
    choices: Mapping[str, str | None],
    stages: Sequence[tuple[Any, Entry]],
    root: Path,
    own: Mapping[str, int] | None,
    queries: int | None,
) -> list[str]:
    facts = Known(config, choices)
    splits = splits_of(config, stages, None)
    splits |= {name: exact(count) for name, count in (own or {}).items() if name in splits}
    if queries is not None:
        splits |= {"sft": exact(queries), "dpo": exact(queries)}
    flawed = flawed_share(stages, config["plan"]["flawed"])
    counting = Counting(splits, config["sampling"]["k"], flawed, asked=queries is not None)
    costs = costs_of(stages, counting, facts, measured_seconds(root, stages, facts))
    to_do = [one for one in costs if not one.done]
    of = f"{queries:,} queries each for SFT and preferences" if queries is not None else "the config's own queries"
    sizes = ", ".join(f"{name} {_number(splits[name])}" for name in ("sft", "dpo", "test"))
    lines = [f"costs of {of} ({sizes}), k={config['sampling']['k']}, on {facts.gpu}", *_rows(to_do)]
    if len(to_do) < len(costs):
        lines.append(f"{len(costs) - len(to_do)} stages are done and cost nothing more")
    return [
        *lines,
        *_sums(to_do, config, facts),
        *_idle(to_do, facts),
        *_dominating(to_do, config),
        *_adaptive(to_do, config, flawed),
    ]


def _rows(costs: Sequence[Cost]) -> list[str]:
    table = [HEAD]
    for one in costs:
        table.append(
            (
                one.name, _number(one.items), _seconds(one.seconds), _number(one.gpu_hours), _bytes(one.bytes), _number(one.tokens),
                _number(one.money), _basis(one),
            )
        )  # fmt: skip
    sums = [total(getattr(one, name) for one in costs) for name in ("gpu_hours", "bytes", "tokens", "money")]
    shown = (_number(sums[0]), _bytes(sums[1]), _number(sums[2]), _number(sums[3]))
    table.append(
        ("total", "", "", *shown, " + ? means: and what is not known" if any(one.more for one in sums) else "")
    )
    widths = [max(len(row[at]) for row in table) for at in range(len(HEAD))]
    return ["  ".join(map(_aligned, row, widths, range(len(HEAD)))).rstrip() for row in table]


def _aligned(cell: str, width: int, column: int) -> str:
    """Texts to the left, numbers to the right."""
    return cell.ljust(width) if column in (0, len(HEAD) - 1) else cell.rjust(width)


def _basis(cost: Cost) -> str:
    """Where the row's time, and its count where that is the weaker, come from."""
    time = cost.seconds.basis if cost.gpu_hours.value != 0 or cost.seconds.known else "no GPU of ours"
    if cost.items.basis in ("estimate", "?"):
        return f"{time}; items: {cost.items.basis}"
    return time


def _sums(costs: Sequence[Cost], config: Mapping[str, Any], facts: Known) -> list[str]:
    hours, gpus = total(one.gpu_hours for one in costs), config["plan"]["gpus"]
    if not hours.known or not hours.value:
        return []
    on = [f"{_days(hours, 1)} on one {facts.gpu}"] + ([f"{_days(hours, gpus)} on {gpus}"] if gpus > 1 else [])
    note = (
        ""
        if gpus == 1
        else " (items are independent: processes, Ray or shards share them out; a training as trainer.devices says)"
    )
    price = "" if config["plan"]["gpu_price"] is not None else "; GPU-hours have no price (plan.gpu_price)"
    return [f"time: {', '.join(on)}{note}{price}"]


def _idle(costs: Sequence[Cost], facts: Known) -> list[str]:
    """What stages one after another leave idle, where clips and their scores are made on a device each."""
    render, score = (
        total(one.gpu_hours for one in costs if one.name.startswith(f"{name} ")) for name in ("render", "score")
    )
    if not (render.value and score.value):
        return []
    both, shorter = render.value + score.value, min(render.value, score.value)
    return [
        f"idle: with one {facts.gpu} each for generator and reward these would do nothing for {score.value / both:.0%} and "
        f"{render.value / both:.0%} of that time, and to score clips while others are rendered would spare at most "
        f"{shorter / both:.0%}; with all devices on each stage in turn (executor) nothing is idle but for its last clips"
    ]


def _dominating(costs: Sequence[Cost], config: Mapping[str, Any]) -> list[str]:
    hours = total(one.gpu_hours for one in costs)
    known_hours = [one for one in costs if one.gpu_hours.value]
    if not known_hours or not hours.value:
        return []
    by_stage: dict[str, float] = {}
    for one in known_hours:
        name = one.name.partition(" ")[0]
        by_stage[name] = by_stage.get(name, 0.0) + (one.gpu_hours.value or 0.0)
    name, most = max(by_stage.items(), key=lambda item: item[1])
    settings = [f"{path}={value}" for path in GROWS.get(name, ()) if (value := _at(config, path)) is not None]
    named = f": {', '.join(settings)}" if settings else ""
    known_part = "the known " if hours.more else ""
    return [f"dominates: {name}, {most / hours.value:.0%} of {known_part}GPU-hours{named}"]


def _adaptive(costs: Sequence[Cost], config: Mapping[str, Any], flawed: Figure) -> list[str]:
    """What rendering less would save, and at what price in pairs."""
    feedback, k = config["feedback"], config["sampling"]["k"]
    rendering = [one for one in costs if one.name.startswith(("render candidates", "score candidates"))]
    hours = total(one.gpu_hours for one in rendering)
    if not feedback["video"] or not rendering:
        return []
    lines = []
    if flawed.value is not None:
        kept = competing(flawed.value, k, beside=feedback["merge"] == "beside", among=feedback["among"])
        share = f"{1 - kept:.0%} of the candidates ({flawed.basis}: {flawed.value:.0%} of prompts have a flaw)"
        lines.append(
            f"saved already: only candidates that can still make a video pair are rendered, without {share}"
            if feedback["text"]
            else f"would save: feedback=both renders only candidates that can still make a video pair, without {share}"
        )
    found = known()["adaptive"]
    if feedback["per_query"] == 1 and feedback["ranks"] is None:  # else all candidates are needed to know the pairs
        stop = found["stop"]["both" if feedback["text"] else "video"]
        spared = hours * Figure(stop["clips"], found["basis"])
        lines.append(
            f"would save: to stop a query once it has a pair spares {stop['clips']:.0%} of clips ({_number(spared)} GPU-hours) and "
            f"loses {stop['pairs']:.0%} of pairs ({found['basis']}: {found['source']})"
        )
    steps = config["generator"].get("steps")
    if isinstance(steps, int) and steps > 1:
        render = total(one.gpu_hours for one in rendering if one.name.startswith("render"))
        lines.append(
            f"would save: generator.steps={steps // 2} for candidates about {_number(render * 0.5)} GPU-hours; in pairs not known for "
            f"this model (half the frames lose {found['half']['pairs']:.0%}, {found['basis']} in the sketch world)"
        )
    return lines


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if not isinstance(value, Mapping) else None


def _days(hours: Figure, gpus: int) -> str:
    time = (hours.value or 0.0) / gpus
    text = f"{time / 24:,.1f} days" if time >= 48 else f"{time:,.1f} hours"
    return f"{text} + ?" if hours.more else text


def _number(figure: Figure) -> str:
    if figure.value is None:
        return "?"
    value = figure.value
    text = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} + ?" if figure.more else text


def _seconds(figure: Figure) -> str:
    return "?" if figure.value is None else f"{figure.value:.3g}"


def _bytes(figure: Figure) -> str:
    if figure.value is None:
        return "?"
    value, unit = figure.value, "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    text = f"{value:.3g} {unit}" if value else "0"
    return f"{text} + ?" if figure.more else text
