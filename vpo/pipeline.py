"""The whole method, top to bottom, one line a stage.

    queries - draft - critique - refine -> SFT data -> SFT -> policy
    queries - policy samples K candidates -+- critique - refine flawed -> text pairs -+
                                           +- render clips - score -----> video pairs +-> DPO -> optimizer
    test queries - methods -> prompts -> clips -> evaluators -> results

Every stage is looked up in the store by what it depends on and made only if it is not there, so the story can be told again
from the start at any time, after a kill or in another job of a sweep.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from vpo import stages
from vpo.errors import UserError
from vpo.pairing import video_candidates
from vpo.records import Prompt, Refinement, Verdict
from vpo.stages.bench import Bench
from vpo.store import Entry

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
    return {name: measure(bench, cfg, queries, name, method, policies) for name, method in cfg["method"].items()}


def train_policies(bench: Bench, cfg: Config, queries: Entry) -> dict[str, Entry]:
    """The trained policies that the methods ask for, by name."""
    wanted = {method["policy"] for method in cfg["method"].values() if "policy" in method}
    policies: dict[str, Entry] = {}
    if wanted:
        policies["start"] = stages.start(bench, cfg["backbone"])
    if wanted - {"start"}:
        policies["sft"] = learn_from_drafts(bench, cfg, queries, policies["start"])
        bench.reached("sft")
    if wanted - {"start", "sft"}:
        pairs = gather_feedback(bench, cfg, queries, policies["sft"])
        policies |= learn_from_pairs(bench, cfg, policies["sft"], pairs, wanted)
        bench.reached("dpo")
    missing = wanted - set(policies)
    if missing:
        raise UserError(
            f"method: no policy is called {', '.join(sorted(missing))}; known are start, sft, dpo, sft_more, sft_chosen"
        )
    return policies


def learn_from_drafts(bench: Bench, cfg: Config, queries: Entry, start: Entry) -> Entry:
    """VPO paper 3.2: drafts, critiqued and refined by the principles, are the supervised data."""
    seed = cfg["seed"]
    drafts = stages.draft(bench, cfg["drafter"], queries, seed)
    bench.reached("draft")
    verdicts = stages.critique(bench, cfg["judge"], drafts)
    bench.reached("critique")
    refinements = stages.refine(bench, cfg["judge"], drafts, verdicts)
    bench.reached("refine")
    data = {"drafts": drafts, "verdicts": verdicts, "refinements": refinements}
    return stages.sft(
        bench, cfg["sft"], cfg["trainer"], cfg["backbone"],
        start=start, data=data, examples=partial(stages.refined_drafts, **data), seed=seed, label="sft",
    )  # fmt: skip


def gather_feedback(bench: Bench, cfg: Config, queries: Entry, policy: Entry) -> Entry:
    """VPO paper 3.3: candidates of the policy, feedback on their text and on their videos, preference pairs."""
    feedback, seed = cfg["feedback"], cfg["seed"]
    candidates = stages.sample(bench, cfg["sampling"], cfg["backbone"], queries, policy, seed)
    bench.reached("sample")
    judged: dict[str, Entry] = {}
    scores = None
    if feedback["text"]:
        judged["verdicts"] = stages.critique(bench, cfg["judge"], candidates)
        judged["refinements"] = stages.refine(bench, cfg["judge"], candidates, judged["verdicts"])
    if feedback["video"]:
        clips = stages.render(
            bench, cfg["generator"], candidates, seed,
            label="clips of candidates", select=partial(select_for_video, judged) if judged else None, judged=judged,
        )  # fmt: skip
        bench.reached("render")
        scores = stages.score(bench, cfg["reward"], clips)
        bench.reached("score")
    pairs = stages.pair(bench, feedback, candidates, judged.get("refinements"), scores, seed)
    bench.reached("pair")
    return pairs


def select_for_video(judged: Mapping[str, Entry], candidates: list[Prompt]) -> list[Prompt]:
    """With text-level feedback, clips are needed only of candidates that can still make a video pair."""
    verdicts = judged["verdicts"].rows("verdicts.jsonl", Verdict)
    return video_candidates(candidates, verdicts, judged["refinements"].rows("refinements.jsonl", Refinement))


def learn_from_pairs(bench: Bench, cfg: Config, sft: Entry, pairs: Entry, wanted: set[str]) -> dict[str, Entry]:
    """The DPO policy, and the controls that get as many more updates without the preferences."""
    objective, backbone, seed = cfg["objective"], cfg["backbone"], cfg["seed"]
    reference = stages.reference(
        bench, backbone, sft, pairs,
        max_length=objective["max_length"], batch_size=cfg["trainer"]["per_device_batch_size"], packing=cfg["trainer"]["packing"],
    )  # fmt: skip
    bench.reached("reference")
    policies = {}
    if "dpo" in wanted:
        policies["dpo"] = stages.dpo(
            bench, objective, cfg["trainer"], backbone, start=sft, pairs=pairs, reference=reference, seed=seed
        )
    more = partial(
        stages.sft,
        bench,
        cfg["control"],
        cfg["trainer"],
        backbone,
        start=sft,
        seed=seed,
        updates_of=(objective, reference),
    )
    if "sft_more" in wanted:
        policies["sft_more"] = more(data={"sft": sft}, examples=partial(stages.same_examples, sft), label="sft_more")
    if "sft_chosen" in wanted:
        policies["sft_chosen"] = more(
            data={"pairs": pairs}, examples=partial(stages.chosen_texts, pairs), label="sft_chosen"
        )
    return policies


def measure(
    bench: Bench, cfg: Config, queries: Entry, name: str, method: Config, policies: Mapping[str, Entry]
) -> dict[str, Entry]:
    """One method on the test queries: prompts, clips, and every evaluator's reading of them."""
    seed = cfg["seed"]
    prompts = stages.optimize(
        bench, name, method, queries, seed, backbone=cfg["backbone"], policy=policies.get(method.get("policy"))
    )
    clips = stages.render(bench, cfg["generator"], prompts, seed, label=f"clips of {name}")
    shared = {"judge": cfg["judge"], "reward": cfg["reward"]}
    measured = {
        evaluator: stages.evaluate(bench, evaluator, node, shared, queries, prompts, clips)
        for evaluator, node in cfg["evaluator"].items()
    }
    return {"prompts": prompts, "clips": clips, **measured}
