"""What each stage of a run costs: its items times what is known of one, and what the store has measured of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vpo.costs.counting import Counting, counted
from vpo.costs.figures import NOTHING, UNKNOWN, Figure
from vpo.costs.known import Known
from vpo.storage.store import Entry, read_manifest
from vpo.templates import template_files

CHARACTERS_PER_TOKEN = 4.8  # of English instructions, as in `vpo.checking.memory_plan`
ROLE = {"render": "generator", "score": "reward", "critique": "judge", "refine": "judge"}
WRITES = ("sample", "optimize")  # by the policy, where the stage has one
TRAINS = {"sft": (1, 6.0), "dpo": (2, 6.0), "reference": (2, 2.0)}  # completions a row; FLOPs a weight and token


@dataclass(frozen=True)
class Cost:
    """What one stage takes.

    Attributes:
        name: the stage and what it is of.
        items: how many.
        seconds: of one item, on one device.
        gpu_hours: of all; 0 where no GPU of ours works.
        bytes: that are kept.
        tokens: that language models read and write.
        money: of tokens, and of GPU-hours where these have a price.
        done: the store has its result, so that nothing of this is spent again.
    """

    name: str
    items: Figure
    seconds: Figure = UNKNOWN
    gpu_hours: Figure = NOTHING
    bytes: Figure = NOTHING
    tokens: Figure = NOTHING
    money: Figure = NOTHING
    done: bool = False


def costs_of(
    stages: Sequence[tuple[Any, Entry]], counting: Counting, known: Known, measured: Mapping[str, Figure]
) -> list[Cost]:
    """The cost of each stage that works on items or trains, in order.

    Args:
        stages: of the plan.
        counting: says how many items each has.
        known: what is known of the run's choices.
        measured: seconds an item, by "stage/role" (`measured_seconds`).
    """
    found = []
    for stage, entry in stages:
        items = counting.count(stage, entry)
        if stage.name not in (*ROLE, *WRITES, *TRAINS, "draft", "evaluate", "evolve", "grpo"):
            continue
        cost = _cost(stage, items, known, measured)
        found.append(replace(cost, name=entry.called, done=entry.done and not counting.asked))
    return found


def _cost(stage: Any, items: Figure, known: Known, measured: Mapping[str, Figure]) -> Cost:
    config = known.config
    name, batch = stage.called, config["sampling"]["batch_size"]
    seconds, on_gpu, read, written, kept = UNKNOWN, True, 0.0, 0.0, known.row_bytes()
    if stage.name in TRAINS or stage.name == "grpo":
        return _training(stage, items, known)
    if stage.name in ROLE:
        seconds, on_gpu = known.seconds(ROLE[stage.name])
        kept = kept + known.clip_bytes() if stage.name == "render" else kept
        node = config[ROLE[stage.name]]
    elif stage.name == "evaluate":
        on_gpu, node = False, stage.evaluator
    else:
        writers = {"draft": config["drafter"], "evolve": getattr(stage, "rewriter", None) or {}}
        node = (
            writers.get(stage.name)
            or getattr(stage, "method", None)
            or ({} if stage.name == "evolve" else config["backbone"])
        )
        if getattr(stage, "policy", None) is not None:
            read, written = (
                _prompt_tokens(config, config["backbone"].get("template")),
                config["plan"]["completion_tokens"],
            )
            seconds = known.writing_seconds(written, batch)
            on_gpu = config["trainer"]["accelerator"] == "gpu"
            node = config["backbone"]
    engine = node.get("engine") or {}
    if engine and stage.name != "score":  # pictures are tokens, too, and how many depends on the model
        read, written = _engine_tokens(stage.name, node, config)
    if "base_url" in node or "base_url" in engine:
        on_gpu = False  # a server's GPUs are not this run's
    elif engine:
        on_gpu = True
    elif stage.name not in ROLE and getattr(stage, "policy", None) is None:
        on_gpu = False  # a text without a language model
    seconds = measured.get(f"{stage.name}/{node.get('_target_')}", seconds)
    hours = items * seconds * (1 / 3600) if on_gpu else NOTHING
    tokens = items * Figure(read + written, "estimate") if read or written else UNKNOWN if engine else NOTHING
    return Cost(name, items, seconds, hours, items * kept, tokens, _money(items, engine, read, written, hours, config))


def _training(stage: Any, items: Figure, known: Known) -> Cost:
    config = known.config
    if stage.name == "grpo":
        return Cost(stage.called, items, UNKNOWN, UNKNOWN, 4.0 * known.parameters(), UNKNOWN, UNKNOWN)
    recipe = config["sft"] if stage.name == "sft" else config["objective"]
    completions, passes = TRAINS[stage.name]
    epochs = 1 if stage.name == "reference" else recipe["epochs"]
    row = completions * (
        _prompt_tokens(config, config["backbone"].get("template")) + config["plan"]["completion_tokens"]
    )
    tokens = items * Figure(row * epochs, "estimate")
    on_gpu = config["trainer"]["accelerator"] == "gpu"
    time = known.training_seconds(tokens, passes) if on_gpu else UNKNOWN
    hours = time * (1 / 3600) if on_gpu else NOTHING
    each = UNKNOWN if time.value is None or not items.value else time * (1 / items.value)
    kept = NOTHING if stage.name == "reference" else (4.0 * known.parameters()).weaker("estimate")
    return Cost(stage.called, items, each, hours, kept, tokens, _money(items, {}, 0, 0, hours, config))


def _money(
    items: Figure, engine: Mapping[str, Any], read: float, written: float, hours: Figure, config: Mapping[str, Any]
) -> Figure:
    """Of tokens at a server's prices (of a million), and of GPU-hours."""
    price = config["plan"]["gpu_price"]
    found = NOTHING if hours.value == 0 else UNKNOWN if price is None else hours * price
    if "base_url" not in engine:
        return found
    if not read:
        return UNKNOWN
    price_in, price_out = engine.get("price_in"), engine.get("price_out")
    if price_in is None or price_out is None:
        return found + UNKNOWN
    return found + items * Figure((read * float(price_in) + written * float(price_out)) / 1e6, "estimate")


def _engine_tokens(stage: str, node: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[float, float]:
    """Tokens that a language model reads and writes for one item of a stage that asks one."""
    plan = config["plan"]
    templates = [str(value) for key, value in node.items() if "template" in key and isinstance(value, str)]
    matching = [one for one in templates if stage in one] or templates[:1]
    read = sum(_characters(one) for one in matching) / CHARACTERS_PER_TOKEN + plan["query_tokens"]
    if stage in ("critique", "refine"):
        read += plan["completion_tokens"]  # the prompt that is judged
    return read, plan["verdict_tokens"] if stage == "critique" else plan["completion_tokens"]


def _prompt_tokens(config: Mapping[str, Any], template: str | None) -> float:
    return (_characters(template) if template else 0) / CHARACTERS_PER_TOKEN + float(config["plan"]["query_tokens"])


def _characters(template: str) -> int:
    """Of a template's text; 0 for a name that is none of ours."""
    return sum(len(file.read_text(encoding="utf-8")) for file in template_files() if file.stem == template)


def measured_seconds(root: Any, stages: Sequence[tuple[Any, Entry]], known: Known) -> dict[str, Figure]:
    """Seconds an item on one worker, by "stage/target of its role", where the store holds a result of the same role's node.

    A result counts if one start has done at least half of its items: what a killed start did took time that nobody wrote down.
    """
    found: dict[str, tuple[int, float]] = {}
    wanted: dict[str, Mapping[str, Any]] = {}
    for stage, _ in stages:
        for role in ("generator", "reward", "judge", "evaluator", "method", "backbone"):
            node = getattr(stage, role, None)
            if isinstance(node, Mapping) and "_target_" in node:
                wanted.setdefault(f"{stage.name}/{node['_target_']}", node)
                break
    for name, node in wanted.items():
        for path in sorted(root.glob(f"{name.partition('/')[0]}/*/manifest.json")):
            if path.parent.suffix:
                continue
            manifest = read_manifest(path.parent)
            work, made_by = manifest.get("work"), manifest["node"]
            nodes = [made_by.get(role) for role in ("generator", "reward", "judge", "evaluator", "method", "backbone")]
            total = counted(Entry(path.parent.parent.name, path.parent.name, path.parent))
            same = any(isinstance(one, Mapping) and _same(one, node) for one in nodes)
            if not same or not work or not work["items"] or (total and work["items"] * 2 < (total.value or 0)):
                continue
            items, spent = found.get(name, (0, 0.0))
            found[name] = items + work["items"], spent + work["seconds"] * work["workers"]
    return {name: Figure(spent / items, "measured") for name, (items, spent) in found.items()}


def _same(made: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether a stored role's node is the present one, but for hashes of contents that were added to it."""
    return all(made.get(name) == value for name, value in node.items())
