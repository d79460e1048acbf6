"""The whole method, top to bottom, one line a stage.

    queries - draft - critique - refine -> SFT data -> SFT -> policy
    queries - policy samples K candidates -+- critique - refine flawed -> text pairs -+
                                           +- render clips - score -----> video pairs +-> DPO -> optimizer
    test queries - methods -> prompts -> clips -> evaluators -> results

Every stage is looked up in the store by what it depends on and made only if it is not there, so the story can be told again
from the start at any time, after a kill or in another job of a sweep.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from vpo import stages
from vpo.errors import UserError
from vpo.pairing import video_candidates
from vpo.records import Prompt, Refinement, Verdict
from vpo.seeding import seed_of
from vpo.stages.bench import Bench
from vpo.store import Entry, numbered
from vpo.training.recipe import base_dtype, bits_of

log = logging.getLogger(__name__)
Config = Mapping[str, Any]


def run(bench: Bench, cfg: Config) -> dict[str, dict[str, Entry]]:
    """Tell the story for one resolved config.

    Returns:
        What was made for each method: {"prompts": entry, "clips": entry, evaluator: entry, ...}, in the order of the config.
    """
    queries = stages.queries(bench, cfg["dataset"])
    bench.reached("queries")
    policies = train_policies(bench, cfg, queries)
    prompts = {name: write_prompts(bench, cfg, queries, name, policies) for name in cfg["method"]}
    bench.reached("optimize")
    measured = {name: measure(bench, cfg, queries, name, made) for name, made in prompts.items()}
    bench.reached("evaluate")
    return measured


def stops(cfg: Config) -> tuple[str, ...]:
    """The names at which this config's run can stop, in their order."""
    wanted = wanted_policies(cfg)
    chapter = AFTER_SFT[cfg["objective"]["policy"]]
    drafted = ("draft", "critique", "refine", "sft") if wanted - {"start"} else ()
    learned = chapter.stages if wanted - {"start", "sft"} else ()
    unseen = () if cfg["feedback"]["video"] else ("render", "score")
    return ("queries", *drafted, *(name for name in learned if name not in unseen), "optimize", "evaluate")


def wanted_policies(cfg: Config) -> set[str]:
    """The policies that the methods sample from."""
    return {method["policy"] for method in cfg["method"].values() if "policy" in method}


def train_policies(bench: Bench, cfg: Config, queries: Entry) -> dict[str, Entry]:
    """The trained policies that the methods ask for, by name."""
    wanted = wanted_policies(cfg)
    chapter = AFTER_SFT[cfg["objective"]["policy"]]
    makes = chapter.policies(cfg)
    unknown = wanted - {"start", "sft", *makes}
    if unknown:
        known = ", ".join(["start", "sft", *makes])
        raise UserError(
            f"method: no policy is called {', '.join(sorted(unknown))} with objective.policy={cfg['objective']['policy']}; known "
            f"are {known}: {cure_of(cfg, unknown)}, or leave the method out (method=[original,sft])"
        )
    if not makes:
        log.info("objective: nothing is trained after SFT, so there is no row for it")
    policies: dict[str, Entry] = {}
    if wanted:
        policies["start"] = stages.start(bench, cfg["backbone"])
        check_start(cfg, policies["start"], queries, wanted)
    if wanted - {"start"}:
        policies["sft"] = learn_from_drafts(bench, cfg, queries, policies["start"])
        bench.reached("sft")
    if wanted - {"start", "sft"}:
        policies |= chapter.tell(bench, cfg, queries, policies["sft"], wanted)
    return policies


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
    stages.check_prompts(start, queries, cfg["backbone"], new)
    if wanted - {"start"}:
        stages.check_training(start, cfg["backbone"], cfg["sft"])


def cure_of(cfg: Config, unknown: set[str]) -> str:
    """What makes the policies that this config does not: more rounds for a later round's, else another objective."""
    rounds = [name.removeprefix("dpo_") for name in unknown if name.startswith("dpo_")]
    later = cfg["objective"]["policy"] == "dpo" and len(rounds) == len(unknown) and all(map(str.isdecimal, rounds))
    return f"set rounds={max(map(int, rounds))}" if later else "choose another objective"


def learn_from_drafts(bench: Bench, cfg: Config, queries: Entry, start: Entry) -> Entry:
    """VPO paper 3.2: drafts, critiqued and refined by the principles, are the supervised data."""
    seed = cfg["seed"]
    drafts = stages.draft(bench, cfg["drafter"], queries, seed)
    bench.reached("draft")
    verdicts = stages.critique(bench, cfg["judge"], drafts, label="drafts")
    bench.reached("critique")
    refinements = stages.refine(bench, cfg["judge"], drafts, verdicts, label="drafts")
    bench.reached("refine")
    data = {"drafts": drafts, "verdicts": verdicts, "refinements": refinements}
    return stages.sft(
        bench, cfg["sft"], cfg["trainer"], cfg["backbone"],
        start=start, data=data, examples=partial(stages.refined_drafts, **data), seed=seed, label="sft",
    )  # fmt: skip


def learn_from_feedback(bench: Bench, cfg: Config, queries: Entry, sft: Entry, wanted: set[str]) -> dict[str, Entry]:
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
        pairs = gather_feedback(bench, cfg, queries, policy, seed, label)
        reference = reference_of(bench, cfg, policy, pairs, label)
        bench.reached("reference")
        rounds.append((pairs, reference))
        if trains:
            policy = policies[f"dpo_{number}"] = policies["dpo"] = stages.dpo(
                bench, cfg["objective"], cfg["trainer"], cfg["backbone"],
                start=policy, pairs=pairs, reference=reference, seed=seed, label="dpo" if number == 1 else f"dpo_{number}",
            )  # fmt: skip
    policies |= train_controls(bench, cfg, sft, rounds, wanted)
    bench.reached("dpo")
    return policies


def gather_feedback(bench: Bench, cfg: Config, queries: Entry, policy: Entry, seed: int, label: str = "") -> Entry:
    """VPO paper 3.3: candidates of the policy, feedback on their text and on their videos, preference pairs.

    `label` tells in log and plan which of several rounds this is.
    """
    feedback = cfg["feedback"]
    of_candidates = f"candidates {label}".strip()
    candidates = stages.sample(bench, cfg["sampling"], cfg["backbone"], queries, policy, seed, label)
    bench.reached("sample")
    judged: dict[str, Entry] = {}
    rules: Config = {}
    scores = None
    if feedback["text"]:
        rules = {"prepended": feedback["prepended"]}
        judged["verdicts"] = stages.critique(bench, cfg["judge"], candidates, label=of_candidates)
        judged["refinements"] = stages.refine(bench, cfg["judge"], candidates, judged["verdicts"], label=of_candidates)
    if feedback["video"]:
        clips = stages.render(
            bench, cfg["generator"], candidates, seed,
            label=of_candidates, select=partial(select_for_video, judged, **rules) if judged else None,
            judged=judged, rules=rules,
        )  # fmt: skip
        bench.reached("render")
        scores = stages.score(bench, cfg["reward"], clips, of_candidates)
        bench.reached("score")
    pairs = stages.pair(bench, feedback, candidates, judged.get("refinements"), scores, seed)
    bench.reached("pair")
    return pairs


def select_for_video(judged: Mapping[str, Entry], candidates: list[Prompt], *, prepended: bool) -> list[Prompt]:
    """With text-level feedback, clips are needed only of candidates that can still make a video pair."""
    verdicts = judged["verdicts"].rows("verdicts.jsonl", Verdict)
    refinements = judged["refinements"].rows("refinements.jsonl", Refinement)
    return video_candidates(candidates, verdicts, refinements, prepended=prepended)


def reference_of(bench: Bench, cfg: Config, policy: Entry, pairs: Entry, label: str = "") -> Entry:
    """Log-probabilities of the pairs under the policy from which preference training starts."""
    objective, hardware = cfg["objective"], cfg["trainer"]
    return stages.reference(
        bench, cfg["backbone"], policy, pairs,
        max_length=objective["max_length"], batch_size=hardware["per_device_batch_size"], packing=hardware["packing"],
        bits=bits_of(objective), dtype=base_dtype(objective["adapter"], hardware), label=label,
    )  # fmt: skip


def train_controls(
    bench: Bench, cfg: Config, sft: Entry, rounds: Sequence[tuple[Entry, Entry]], wanted: set[str]
) -> dict[str, Entry]:
    """The controls, which get as many more updates as all rounds together, without the preferences."""
    train = partial(
        stages.sft, bench, cfg["control"], cfg["trainer"], cfg["backbone"],
        start=sft, seed=cfg["seed"], updates_of=(cfg["objective"], [reference for _, reference in rounds]),
    )  # fmt: skip
    policies = {}
    if "sft_more" in wanted:
        policies["sft_more"] = train(data={"sft": sft}, examples=partial(stages.same_examples, sft), label="sft_more")
    if "sft_chosen" in wanted:
        pairs = [pairs for pairs, _ in rounds]
        policies["sft_chosen"] = train(
            data=numbered("pairs", pairs), examples=partial(stages.chosen_texts, pairs), label="sft_chosen"
        )
    return policies


def learn_online(bench: Bench, cfg: Config, queries: Entry, sft: Entry, wanted: set[str]) -> dict[str, Entry]:
    """The GRPO policy: the same feedback as rewards of what the policy samples while it learns, instead of pairs."""
    feedback = cfg["feedback"]
    roles = (["judge"] if feedback["text"] else []) + (["generator", "reward"] if feedback["video"] else [])
    policy = stages.grpo(
        bench, cfg["objective"], cfg["trainer"], cfg["backbone"],
        start=sft, queries=queries, rewards={role: cfg[role] for role in roles}, seed=cfg["seed"],
    )  # fmt: skip
    bench.reached("grpo")
    return {"grpo": policy}


class Chapter(NamedTuple):
    """What follows SFT under one kind of objective.

    Attributes:
        tell: makes the policies that methods want, from (bench, config, queries, SFT policy, wanted names).
        policies: the names of those that it can make, from the config.
        stages: the names at which a run can stop on the way.
        check: raises UserError for a config that it cannot follow.
    """

    tell: Callable[[Bench, Config, Entry, Entry, set[str]], dict[str, Entry]]
    policies: Callable[[Config], tuple[str, ...]]
    stages: tuple[str, ...]
    check: Callable[[Config], None] = lambda config: None


# By the policy that the objective names.
AFTER_SFT = {
    "dpo": Chapter(
        learn_from_feedback,
        lambda cfg: ("dpo", *(f"dpo_{n}" for n in range(1, cfg["rounds"] + 1)), "sft_more", "sft_chosen"),
        ("sample", "render", "score", "pair", "reference", "dpo"),
    ),
    "grpo": Chapter(learn_online, lambda cfg: ("grpo",), ("grpo",), stages.check_grpo),
    None: Chapter(lambda *told: {}, lambda cfg: (), ()),
}


def write_prompts(bench: Bench, cfg: Config, queries: Entry, name: str, policies: Mapping[str, Entry]) -> Entry:
    """One method's prompts for the test queries."""
    method = cfg["method"][name]
    return stages.optimize(
        bench, name, method, queries, cfg["seed"], backbone=cfg["backbone"], policy=policies.get(method.get("policy"))
    )


def measure(bench: Bench, cfg: Config, queries: Entry, name: str, prompts: Entry) -> dict[str, Entry]:
    """One method's clips, and every evaluator's reading of them and of its prompts."""
    clips = stages.render(bench, cfg["generator"], prompts, cfg["seed"], label=name)
    shared = {"judge": cfg["judge"], "reward": cfg["reward"]}
    measured = {
        evaluator: stages.evaluate(bench, evaluator, node, shared, queries, prompts, clips, label=name)
        for evaluator, node in cfg["evaluator"].items()
    }
    return {"prompts": prompts, "clips": clips, **measured}
