"""Where a preference pair came from, as plain values that stand in the pair itself."""

from collections.abc import Mapping
from typing import Any

from vpo.records import Prompt, Score, Verdict, to_json

ANSWERS = {True: "y", False: "n", None: "-"}


def side(
    prompt: Prompt, *, refined: bool = False, verdict: Verdict | None = None, score: Score | None = None
) -> dict[str, Any]:
    """One side of a pair.

    Args:
        prompt: the candidate whose text it is; of a refined text, the flawed candidate.
        refined: whether the side is the judge's refinement of the candidate, on which there is no verdict of its own.
        verdict: on the side's text.
        score: of the clip that was rendered from it.
    """
    found: dict[str, Any] = {"refinement_of" if refined else "candidate": prompt.id}
    if verdict is not None:
        found["verdict"] = verdict_facts(verdict)
    if score is not None:
        found["score"] = score_facts(score)
    return found


def verdict_facts(verdict: Verdict) -> dict[str, Any]:
    """A verdict without its id and the raw answer, which lie in `verdicts.jsonl`."""
    left_out = ("prompt_id", "raw", "usage")
    return {name: value for name, value in to_json(verdict).items() if name not in left_out}


def score_facts(score: Score) -> dict[str, Any]:
    """A score's parts; answers as one letter a question, in order: y, n, or - for none that could be read."""
    facts: dict[str, Any] = {"clip": score.clip_id, "value": score.value}
    if score.dimensions:
        facts["dimensions"] = dict(score.dimensions)
    if score.answers:
        facts["answers"] = "".join(ANSWERS[one] for one in score.answers)
    return facts


def provenance(rule: Mapping[str, Any], chosen: Mapping[str, Any], rejected: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a pair, to which a stage adds "versions"."""
    return {"rule": dict(rule), "chosen": dict(chosen), "rejected": dict(rejected)}
