"""The whole method, top to bottom, one line a stage.

    queries - draft - critique - refine -> SFT data -> SFT -> policy
    queries - policy samples K candidates -+- critique - refine flawed -> text pairs -+
                                           +- render clips - score -----> video pairs +-> DPO -> optimizer
    test queries - methods -> prompts -> clips -> evaluators -> results

Every stage is looked up in the store by what it depends on and made only if it is not there, so the pipeline can be run again
from the start at any time, after a kill or in another job of a sweep.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vpo.build import cards_of
from vpo.errors import UserError
from vpo.seeding import seed_of
from vpo.stages.context import Context, StopHere
from vpo.stages.critique import Critique
from vpo.stages.curate import queries_of
from vpo.stages.dpo import Dpo
from vpo.stages.draft import draft
from vpo.stages.evaluate import Evaluate
from vpo.stages.evolution import evolve
from vpo.stages.grpo import Grpo, check_grpo
from vpo.stages.optimize import optimize
from vpo.stages.pair import MakePairs
from vpo.stages.queries import HeldOut
from vpo.stages.reference import Reference
from vpo.stages.refine import Refine
from vpo.stages.render import Render
from vpo.stages.rivals import rivals_of
from vpo.stages.sample import Sample
from vpo.stages.score import ScoreClips
from vpo.stages.sft import Sft
from vpo.stages.stage import Stage
from vpo.stages.start import Start, check_prompts, check_training
from vpo.stages.together import can_read_together, read_together, shares_frames
from vpo.storage.store import Entry, Store

log = logging.getLogger(__name__)
Config = Mapping[str, Any]
Made = dict[str, dict[str, dict[str, Entry]]]  # method -> "parts" or "evaluators" -> name -> entry


def run(context: Context, cfg: Config) -> Made:
    """Do all stages of one resolved config.

    Returns:
        What was made for each method, in the order of the config: {"parts": {"queries": entry, "prompts": entry, "clips": entry,
        ...}, "evaluators": {name: entry, ...}}.
    """
    queries = context.make(queries_of(cfg))
    asked = test_queries(context, cfg, queries)
    policies = context.policies = train_policies(context, cfg, queries)
    prompts = {name: write_prompts(context, cfg, asked, name, policies) for name in cfg["method"]}
    return measure(context, cfg, asked, prompts)


def plan(cfg: Config, store: Path = Path("store")) -> list[tuple[Stage, Entry]]:
    """The stages of a config's run, in order, with the entries that they have or will have; nothing is made."""
    context = Context(Store(store, dry=True), stop_after=cfg["stop_after"])
    with suppress(StopHere):
        run(context, cfg)
    return context.requested


def stops(cfg: Config) -> tuple[str, ...]:
    """The names of the stages after which this config's run can stop, in their order."""
    return tuple(dict.fromkeys(stage.name for stage, _ in plan({**cfg, "stop_after": None})))


def test_queries(context: Context, cfg: Config, queries: Entry) -> Entry:
    """What methods are measured on: the test queries, or those of another split in their place."""
    split = cfg["measured"]
    return queries if split == "test" else context.make(HeldOut(queries=queries, split=split))


def train_policies(context: Context, cfg: Config, queries: Entry) -> dict[str, Entry]:
    """The trained policies that the methods ask for, by name."""
    wanted = wanted_policies(cfg)
    learning = AFTER_SFT[cfg["objective"]["policy"]]
    _check_policies(cfg, wanted, learning.policies(cfg))
    policies: dict[str, Entry] = {}
    winners = evolve(context, cfg, queries) if cfg["evolution"] else None
    if wanted:
        policies["start"] = context.make(Start(backbone=cfg["backbone"]))
        check_start(cfg, policies["start"], queries, wanted)
    if wanted - {"start"}:
        policies["sft"] = (
            learn_from_winners(context, cfg, winners, policies["start"])
            if winners is not None
            else learn_from_drafts(context, cfg, queries, policies["start"])
        )
    if wanted - {"start", "sft"}:
        policies |= learning.learn(context, cfg, queries, policies["sft"], wanted)
    return policies


def wanted_policies(cfg: Config) -> set[str]:
    """The policies that the methods sample from."""
    return {method["policy"] for method in cfg["method"].values() if "policy" in method}


def _check_policies(cfg: Config, wanted: set[str], makes: Sequence[str]) -> None:
    """Raise UserError where a method samples from a policy that this config does not train."""
    objective = cfg["objective"]["policy"]
    unknown = wanted - {"start", "sft", *makes}
    if unknown:
        known = ", ".join(["start", "sft", *makes])
        raise UserError(
            f"method: no policy is called {', '.join(sorted(unknown))} with objective.policy={objective}; known "
            f"are {known}: {_cure_of(objective, unknown)}, or leave the method out (method=[original,sft])"
        )
    if not makes:
        log.info("objective: nothing is trained after SFT, so there is no row for it")


def check_start(cfg: Config, start: Entry, queries: Entry, wanted: set[str]) -> None:
    """Refuse a model that cannot do what this run asks of it, before anything is drafted; a plan has none to ask."""
    if not start.done:
        return
    new = {
        f"method.{name}.max_new_tokens": method["max_new_tokens"]
        for name, method in cfg["method"].items()
        if "policy" in method
    }
    if wanted - {"start", "sft"}:
        online = cfg["objective"]["policy"] == "grpo"
        key, node = ("objective", cfg["objective"]) if online else ("sampling", cfg["sampling"])
        new[f"{key}.max_new_tokens"] = node["max_new_tokens"]
    check_prompts(start, queries, cfg["backbone"], new)
    if wanted - {"start"}:
        check_training(start, cfg["backbone"], cfg["sft"])


def _cure_of(objective: str | None, unknown: set[str]) -> str:
    """What makes the policies that this config does not: more rounds for a later round's, else another objective."""
    rounds = [name.removeprefix("dpo_") for name in unknown if name.startswith("dpo_")]
    later = objective == "dpo" and len(rounds) == len(unknown) and all(map(str.isdecimal, rounds))
    return f"set rounds={max(map(int, rounds))}" if later else "choose another objective"


def learn_from_drafts(context: Context, cfg: Config, queries: Entry, start: Entry) -> Entry:
    """VPO paper 3.2: drafts, critiqued and refined by the principles, are the supervised data."""
    seed, judge = cfg["seed"], cfg["judge"]
    drafts = context.make(draft(cfg["drafter"], queries, seed))
    verdicts = context.make(Critique(judge=judge, prompts=drafts, label="drafts"))
    refinements = context.make(Refine(judge=judge, prompts=drafts, verdicts=verdicts, label="drafts"))
    return context.make(
        Sft(
            recipe=cfg["sft"], trainer=cfg["trainer"], backbone=cfg["backbone"], start=start, seed=seed,
            drafts=drafts, verdicts=verdicts, refinements=refinements, label="sft",
        )
    )  # fmt: skip


def learn_from_winners(context: Context, cfg: Config, winners: Entry, start: Entry) -> Entry:
    """Prompt-A-Video: the winners of an evolution are the supervised data."""
    return context.make(
        Sft(
            recipe=cfg["sft"], trainer=cfg["trainer"], backbone=cfg["backbone"], start=start, seed=cfg["seed"], examples_of=winners,
            label="sft",
        )
    )  # fmt: skip


def learn_from_feedback(
    context: Context, cfg: Config, queries: Entry, sft: Entry, wanted: set[str]
) -> dict[str, Entry]:
    """Rounds of feedback and preference training (VPO, Table 6; Prompt-A-Video takes two), and the controls.

    Each round samples from the policy of the round before, starts from it and takes it as its reference. `dpo_1`, `dpo_2`,
    ... are the policies of the rounds, `dpo` is the last one.
    """
    policies: dict[str, Entry] = {}
    rounds: list[tuple[Entry, Entry]] = []
    policy = sft
    # The pairs of a later round need the policy of the round before, whoever wants it.
    trains = cfg["rounds"] > 1 or any(name.startswith("dpo") for name in wanted)
    for number in range(1, cfg["rounds"] + 1):
        seed = cfg["seed"] if number == 1 else seed_of("round", cfg["seed"], number) % 2**32  # Lightning takes 32 bits
        label = "" if cfg["rounds"] == 1 else f"of round {number}"
        pairs = gather_feedback(context, cfg, queries, policy, seed, label)
        reference = context.make(
            Reference(
                objective=cfg["objective"], trainer=cfg["trainer"], backbone=cfg["backbone"], policy=policy, pairs=pairs,
                label=label,
            )
        )  # fmt: skip
        rounds.append((pairs, reference))
        if trains:
            policy = policies[f"dpo_{number}"] = policies["dpo"] = context.make(
                Dpo(
                    objective=cfg["objective"], trainer=cfg["trainer"], backbone=cfg["backbone"], start=policy, pairs=pairs,
                    reference=reference, seed=seed, label="dpo" if cfg["rounds"] == 1 else f"dpo_{number}",
                )
            )  # fmt: skip
    return policies | train_controls(context, cfg, sft, rounds, wanted)


def gather_feedback(context: Context, cfg: Config, queries: Entry, policy: Entry, seed: int, label: str = "") -> Entry:
    """VPO paper 3.3: candidates of the policy, feedback on their text and on their videos, preference pairs.

    `label` says in log and plan which of several rounds this is.
    """
    feedback, judge = cfg["feedback"], cfg["judge"]
    if feedback["given"]:
        return context.make(MakePairs(feedback=feedback, queries=queries, seed=seed))
    of_candidates = f"candidates {label}".strip()
    candidates = context.make(
        Sample(
            sampling=cfg["sampling"], backbone=cfg["backbone"], queries=queries, policy=policy, seed=seed, label=label
        )
    )
    judged: dict[str, Entry] = {}
    scores = None
    if feedback["text"]:
        verdicts = context.make(Critique(judge=judge, prompts=candidates, label=of_candidates))
        refinements = context.make(Refine(judge=judge, prompts=candidates, verdicts=verdicts, label=of_candidates))
        judged = {"verdicts": verdicts, "refinements": refinements}
    if feedback["video"]:
        # With text-level feedback, clips are needed only of candidates that can still make a video pair.
        clips = context.make(
            Render(
                generator=cfg["generator"], prompts=candidates, seed=seed, judged=judged or None,
                text_pairs=feedback["text_pairs"] if judged else None,
                prepended=feedback["prepended"] if judged else None,
                beside=True if judged and feedback["merge"] == "beside" else None,
                among="all" if judged and feedback["among"] == "all" else None, label=of_candidates,
            )
        )  # fmt: skip
        scores = context.make(ScoreClips(reward=cfg["reward"], clips=clips, label=of_candidates))
    return context.make(MakePairs(feedback=feedback, candidates=candidates, scores=scores, seed=seed, **judged))


def train_controls(
    context: Context, cfg: Config, sft: Entry, rounds: Sequence[tuple[Entry, Entry]], wanted: set[str]
) -> dict[str, Entry]:
    """The controls, which get as many more updates as all rounds together, without the preferences."""
    examples: dict[str, dict[str, Any]] = {
        "sft_more": {"examples_of": sft},
        "sft_chosen": {"pairs": [pairs for pairs, _ in rounds]},
    }
    return {
        name: context.make(
            Sft(
                recipe=cfg["control"], trainer=cfg["trainer"], backbone=cfg["backbone"], start=sft, seed=cfg["seed"],
                updates=cfg["objective"], updates_of=[reference for _, reference in rounds], label=name, **given,
            )
        )
        for name, given in examples.items()
        if name in wanted
    }  # fmt: skip


def learn_online(context: Context, cfg: Config, queries: Entry, sft: Entry, wanted: set[str]) -> dict[str, Entry]:
    """The GRPO policy: the same feedback as rewards of what the policy samples while it learns, instead of pairs."""
    feedback = cfg["feedback"]
    roles = (["judge"] if feedback["text"] else []) + (["generator", "reward"] if feedback["video"] else [])
    policy = context.make(
        Grpo(
            objective=cfg["objective"], trainer=cfg["trainer"], backbone=cfg["backbone"], start=sft, queries=queries,
            seed=cfg["seed"], **{role: cfg[role] for role in roles},
        )
    )  # fmt: skip
    return {"grpo": policy}


@dataclass(frozen=True)
class Learning:
    """What follows SFT under one kind of objective.

    Attributes:
        learn: makes the policies that methods want, from (context, config, queries, SFT policy, wanted names).
        policies: the names of those that it can make, from the config.
        check: raises UserError for a config that it cannot follow.
    """

    learn: Callable[[Context, Config, Entry, Entry, set[str]], dict[str, Entry]]
    policies: Callable[[Config], tuple[str, ...]]
    check: Callable[[Config], None] = lambda config: None


# By the policy that the objective names.
AFTER_SFT = {
    "dpo": Learning(
        learn_from_feedback,
        lambda cfg: ("dpo", *(f"dpo_{n}" for n in range(1, cfg["rounds"] + 1)), "sft_more", "sft_chosen"),
    ),
    "grpo": Learning(learn_online, lambda cfg: ("grpo",), check_grpo),
    None: Learning(lambda *unused: {}, lambda cfg: ()),
}


def write_prompts(context: Context, cfg: Config, queries: Entry, name: str, policies: Mapping[str, Entry]) -> Entry:
    """One method's prompts for the test queries."""
    method = cfg["method"][name]
    policy = policies.get(method.get("policy"))
    return context.make(optimize(name, method, queries, cfg["seed"], backbone=cfg["backbone"], policy=policy))


def measure(context: Context, cfg: Config, queries: Entry, prompts: Mapping[str, Entry]) -> Made:
    """Each method's clips, verdicts and scores as far as an evaluator needs them, and what every evaluator makes of them.

    Stage by stage, not method by method, so that no stage comes twice; but what reads the same clips' frames reads them together.
    """
    judge = cfg["judge"]
    copies = copies_of(cfg)
    needs = {name: card.needs for name, card in cards_of(cfg["evaluator"]).items()}
    needed = frozenset().union(*needs.values())
    parts: dict[str, dict[str, Entry]] = {name: {"queries": queries, "prompts": one} for name, one in prompts.items()}
    if needed & {"clips", "scores"}:
        for name, one in prompts.items():
            parts[name]["clips"] = context.make(
                Render(generator=cfg["generator"], prompts=one, seed=cfg["seed"], copies=copies, label=name)
            )
    scores = partial(ScoreClips, reward=cfg["reward"])
    if needed & {"clips", "scores"} and can_read_together(context):
        share = [one for one, node in cfg["evaluator"].items() if needs[one] == {"clips"} and shares_frames(node)]
        for name, part in parts.items():
            readers: list[Stage] = [evaluation(cfg, one, name, part, needs[one]) for one in share]
            if "scores" in needed and shares_frames(cfg["reward"]):
                readers.append(scores(clips=part["clips"], label=name))
            read_together(context, part["clips"], readers)
    if "scores" in needed:
        for name, part in parts.items():
            part["scores"] = context.make(scores(clips=part["clips"], label=name))
    if "verdicts" in needed:
        for name, one in prompts.items():
            parts[name]["verdicts"] = context.make(Critique(judge=judge, prompts=one, label=name))
    if "query_verdicts" in needed:
        of_queries = context.make(Critique(judge=judge, queries=queries, label="queries"))
        for part in parts.values():
            part["query_verdicts"] = of_queries
    made: Made = {name: {"parts": part, "evaluators": {}} for name, part in parts.items()}
    for name, part in parts.items():
        for evaluator, node in cfg["evaluator"].items():
            stage = evaluation(cfg, evaluator, name, part, needs[evaluator])
            if "rivals" in needs[evaluator]:
                stage = replace(stage, rivals=rivals_of(name, node, parts, clips="clips" in needs[evaluator]))
            made[name]["evaluators"][evaluator] = context.make(stage)
    return made


def evaluation(cfg: Config, evaluator: str, method: str, part: Mapping[str, Entry], needs: Collection[str]) -> Evaluate:
    """The stage in which an evaluator measures a method, from those of the method's results that it needs."""
    wanted: dict[str, Any] = {key: entry for key, entry in part.items() if key in needs}
    return Evaluate(
        evaluator_name=evaluator, evaluator=cfg["evaluator"][evaluator], queries=part["queries"], prompts=part["prompts"],
        copies=copies_of(cfg) if wanted.keys() & {"clips", "scores"} else None, label=f"{method} {evaluator}",
        **{key: entry for key, entry in wanted.items() if key not in {"queries", "prompts"}},
    )  # fmt: skip


def copies_of(cfg: Config) -> int | None:
    """Clips of a prompt; None for one, which is no part of a key."""
    count: int = cfg["clips_per_prompt"]
    return count if count > 1 else None
