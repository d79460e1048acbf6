"""Stage `sft`: supervised fine-tuning, of the starting policy (VPO paper 3.2) and of the controls."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

from vpo.pairing import sft_examples
from vpo.records import Example, Pair, Prompt, Refinement, Verdict
from vpo.rows import write_rows
from vpo.stages.bench import Bench, Node
from vpo.stages.training import exempt_of, node_of, train
from vpo.store import Entry, numbered


def sft(
    bench: Bench,
    recipe: Node,
    trainer: Node,
    backbone: Node,
    *,
    start: Entry,
    data: Mapping[str, Entry],
    examples: Callable[[], list[Example]],
    seed: int,
    label: str,
    updates_of: tuple[Node, Sequence[Entry]] | None = None,
) -> Entry:
    """Train on `examples()`, which reads the `data` entries. Writes `policy/` and `training.jsonl`.

    A control takes as many updates, of as many rows, as the preference trainings that `updates_of` (objective, reference
    log-probabilities of each round's pairs) stands for.
    """

    def work(folder: Path) -> dict[str, int]:
        rows = examples()
        write_rows(folder / "rows.jsonl", rows)
        mine = dict(recipe) if updates_of is None else {**recipe, **_updates(*updates_of)}
        steps = train(
            folder, mine, trainer, backbone,
            task="sft", label=label, start=start, rows=folder / "rows.jsonl", seed=seed,
        )  # fmt: skip
        return {"examples": len(rows), "steps": steps}

    node = node_of("recipe", recipe, trainer, backbone, seed)
    inputs = {"start": start, **data}
    if updates_of is not None:
        objective, references = updates_of
        node["updates"] = {name: objective[name] for name in ("epochs", "max_steps", "validation", "global_batch_size")}
        inputs |= numbered("updates", references)
    return bench.stage("sft", node, inputs, work, label, exempt_of("recipe"))


def _updates(objective: Node, references: Sequence[Entry]) -> dict[str, int]:
    """Steps and batch of the preference trainings; the data a control sees is repeated as often as that takes."""
    steps = sum(_steps(objective, len(one.rows("reference.jsonl", dict))) for one in references)
    return {"epochs": 1, "max_steps": steps, "global_batch_size": objective["global_batch_size"]}


def _steps(objective: Node, pairs: int) -> int:
    trained = pairs - round(pairs * objective["validation"])
    return objective["max_steps"] or ceil(max(1, round(trained * objective["epochs"])) / objective["global_batch_size"])


def refined_drafts(drafts: Entry, verdicts: Entry, refinements: Entry) -> list[Example]:
    """The SFT data: drafts that the judge found fine, and the refinements of the others."""
    return sft_examples(
        drafts.rows("prompts.jsonl", Prompt),
        verdicts.rows("verdicts.jsonl", Verdict),
        refinements.rows("refinements.jsonl", Refinement),
    )


def same_examples(sft: Entry) -> list[Example]:
    """What an earlier supervised training learnt from, for the control that simply goes on."""
    return sft.rows("rows.jsonl", Example)


def chosen_texts(rounds: Sequence[Entry]) -> list[Example]:
    """The chosen sides of all rounds' preference pairs, for the control that learns from them without the contrast."""
    pairs = [one for entry in rounds for one in entry.rows("pairs.jsonl", Pair)]
    return [Example(one.query_id, one.query, one.chosen) for one in pairs]
