"""An evolution of prompts, stage by stage: evolve, evaluate, and again; then the winners."""

from collections.abc import Mapping
from typing import Any

from vpo.stages.context import Context
from vpo.stages.critique import Critique
from vpo.stages.evolve import Evolve
from vpo.stages.render import Render
from vpo.stages.score import ScoreClips
from vpo.stages.winners import Winners
from vpo.storage.store import Entry

CALLED = {"video": "reward of the clips", "text": "the judge's grade"}


def evolve(context: Context, cfg: Mapping[str, Any], queries: Entry) -> Entry:
    """Prompt-A-Video's data engine: each query's best prompt after some rounds of rewriting, as SFT data.

    Every prompt is rendered and scored, or judged, against its query. All stages are looked up in the store as any others, so an
    evolution goes on with the generation at which it was stopped.
    """
    rules = cfg["evolution"]
    generations: list[Entry] = []
    rewards: list[Entry] = []
    for generation in range(rules["rounds"] + 1):
        label = f"generation {generation}"
        written: dict[str, Any] = {}
        if generation:
            written = {
                "rewriter": cfg["rewriter"], "parents": rules["parents"], "children": rules["children"], "weights": rules["weights"],
                "earlier": list(generations), "rewards": list(rewards), "seed": cfg["seed"],
            }  # fmt: skip
        prompts = context.make(
            Evolve(queries=queries, draw=rules["queries"], generation=generation, label=label, **written)
        )
        generations.append(prompts)
        rewards.append(evaluate(context, cfg, prompts, label))
    return context.make(
        Winners(
            queries=queries, generations=generations, rewards=rewards, reward=CALLED[rules["reward"]], weights=rules["weights"],
            least=rules["least"],
        )
    )  # fmt: skip


def evaluate(context: Context, cfg: Mapping[str, Any], prompts: Entry, label: str) -> Entry:
    """The reward of prompts, against their queries: of their clips, or the judge's verdicts."""
    if cfg["evolution"]["reward"] == "text":
        return context.make(Critique(judge=cfg["judge"], prompts=prompts, label=label))
    clips = context.make(Render(generator=cfg["generator"], prompts=prompts, seed=cfg["seed"], label=label))
    return context.make(ScoreClips(reward=cfg["reward"], clips=clips, label=label))
