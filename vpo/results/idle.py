"""Which share of a run's working time its parts did nothing, because stages come one after another."""

from collections.abc import Mapping
from typing import Any

# Who is at work in a stage.
AT_WORK = {
    "render": "generator", "score": "reward", "critique": "judge", "refine": "judge", "sft": "training", "dpo": "training",
    "grpo": "training", "reference": "training", "sample": "policy", "optimize": "policy", "draft": "drafter",
}  # fmt: skip


def idle_shares(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Shares between 0 and 1, from the manifests of a run's results by "stage/key".

    By role: 1 - seconds of its stages / seconds of all stages. "workers": of item-by-item stages, what the executor's workers were
    not at work of the time that they had (they start, or wait for the last batch). "overlap": by how much the run would be shorter at
    most, if every clip were scored as soon as it is rendered, on devices of its own.
    """
    seconds: dict[str, float] = {}
    for name, manifest in manifests.items():
        role = AT_WORK.get(name.partition("/")[0])
        if role is not None:
            seconds[role] = seconds.get(role, 0.0) + manifest["seconds"]
    whole = sum(one["seconds"] for one in manifests.values())
    if not whole:
        return {}
    shares = {role: 1 - spent / whole for role, spent in sorted(seconds.items())}
    works = [one["work"] for one in manifests.values() if one.get("work", {}).get("items")]
    had = sum(one["seconds"] * one["workers"] for one in works)
    if had:
        shares["workers"] = max(0.0, 1 - sum(one["busy"] for one in works) / had)
    shares["overlap"] = _overlap(manifests) / whole
    return {name: round(share, 4) for name, share in shares.items()}


def _overlap(manifests: Mapping[str, Mapping[str, Any]]) -> float:
    """Seconds that scoring beside rendering would save at most: of each rendering and its scores, the shorter."""
    return sum(_shorter(manifests, one) for name, one in manifests.items() if name.startswith("score/"))


def _shorter(manifests: Mapping[str, Mapping[str, Any]], scored: Mapping[str, Any]) -> float:
    rendered = (one for one in scored["inputs"].values() if one.startswith("render/") and one in manifests)
    return float(min(scored["seconds"], *(manifests[one]["seconds"] for one in rendered)))
