"""How many items each stage of a run works on, from the stages alone: nothing of them need be there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vpo.costs.figures import UNKNOWN, Figure, exact
from vpo.storage.store import Entry, read_manifest

# The count in a finished result's manifest that is how many items it has for those who read it.
COUNTED = {
    "draft": ("prompts",), "optimize": ("prompts",), "sample": ("candidates",), "evolve": ("prompts",), "render": ("clips",),
    "score": ("scores",), "critique": ("fine", "flawed", "unread"), "refine": ("refined", "unusable"), "pair": ("pairs",),
}  # fmt: skip


@dataclass
class Counting:
    """Items by stage.

    Attributes:
        splits: queries by use.
        k: candidates a query.
        flawed: share of prompts in which the judge finds a flaw; None takes it from verdicts of the store, if there are any.
        asked: whether the numbers are of other queries than the config's own: then what the store holds is not counted.
    """

    splits: Mapping[str, Figure]
    k: int
    flawed: Figure
    asked: bool
    items: dict[str, Figure] = field(default_factory=dict)

    def count(self, stage: Any, entry: Entry) -> Figure:
        """The items that a stage works on; the same name asks for them as an input of a later one."""
        found = self._of(stage, entry)
        self.items[f"{entry.stage}/{entry.key}"] = found
        return found

    def _of(self, stage: Any, entry: Entry) -> Figure:
        done = None if self.asked else counted(entry)
        if done is not None:
            return done
        given = stage.inputs()
        if stage.name == "sample":
            return self.splits["dpo"] * self.k
        if stage.name == "draft":
            return self.splits["sft"]
        if stage.name == "optimize":
            return self.splits["test"]
        if stage.name == "evolve":
            return self._evolved(stage)
        if stage.name == "refine":
            return self._read(given["prompts"]) * self.flawed
        if stage.name == "render":
            return self._rendered(stage, given)
        if stage.name == "score":
            return self._read(given["clips"])
        if stage.name == "evaluate":
            return self._read(given["prompts"])
        if stage.name == "critique":
            return self._read(given["prompts"]) if "prompts" in given else self.splits["test"]
        if stage.name == "winners" or (stage.name == "sft" and "examples_of" in given):
            known = [one for entry in given.values() if (one := self._read(entry)).value]
            return (
                min(known, key=lambda one: one.value or 0).weaker("estimate") if known else UNKNOWN
            )  # at most one a query
        if stage.name == "sft":
            return self.splits["sft"].weaker("estimate")
        if stage.name in ("pair", "reference", "dpo"):
            return self.splits["dpo"].weaker("estimate")  # at most one a query by VPO's rules
        if stage.name == "grpo":
            return self.splits["dpo"]
        return exact(0)

    def _read(self, entry: Entry) -> Figure:
        return self.items.get(f"{entry.stage}/{entry.key}", UNKNOWN)

    def _evolved(self, stage: Any) -> Figure:
        queries = self.splits["sft"] if stage.draw is None else exact(stage.draw)
        return queries if stage.generation == 0 else queries * stage.children

    def _rendered(self, stage: Any, given: Mapping[str, Entry]) -> Figure:
        """All prompts; or those that can still make a video pair."""
        prompts = self._read(given["prompts"])
        if stage.judged is None or self.flawed.value is None:
            return prompts * (stage.copies or 1) if stage.judged is None else UNKNOWN
        kept = competing(self.flawed.value, self.k, beside=bool(stage.beside), among=stage.among or "fine")
        return prompts * replace(self.flawed, value=kept)


def competing(flawed: float, k: int, *, beside: bool, among: str) -> float:
    """The share of candidates that can still make a video pair after text-level feedback (`vpo.feedback.pairing.video_candidates`).

    As if flaws came independently, and each flawed candidate were refined: where text wins, the queries are left whose k candidates
    are all fine.
    """
    if not beside:
        return (1 - flawed) ** k
    return 1.0 if among == "all" else 1 - flawed


def counted(entry: Entry) -> Figure | None:
    """The items of a finished result; None where it is not there or counts none."""
    if not entry.done or entry.stage not in COUNTED:
        return None
    counts = read_manifest(entry.folder)["counts"]
    return exact(sum(counts.get(name, 0) for name in (*COUNTED[entry.stage], "failed")))


def flawed_share(stages: Sequence[tuple[Any, Entry]], guess: float | None) -> Figure:
    """Of the candidates, or else of the drafts, by the verdicts that are in the store; else the guess."""
    for label in ("candidates", "drafts"):
        for stage, entry in stages:
            if stage.name == "critique" and stage.label == label and entry.done:
                counts = read_manifest(entry.folder)["counts"]
                judged = counts["fine"] + counts["flawed"]
                if judged:
                    return Figure(counts["flawed"] / judged, "measured")
    return UNKNOWN if guess is None else Figure(guess, "estimate")


def splits_of(config: Mapping[str, Any], stages: Sequence[tuple[Any, Entry]], queries: int | None) -> dict[str, Figure]:
    """Queries by use: of the store's finished queries, else of the config where it counts them, else unknown; or `queries`
    for each training."""
    found = dict.fromkeys(("sft", "dpo", "test"), UNKNOWN)
    dataset, curation = config["dataset"], config.get("curation") or {}
    for name in found:
        for node in (curation.get("split") or {}, dataset):
            value = node.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 1 and not found[name].known:
                found[name] = Figure(value, "exact" if node is dataset else "estimate")
    for stage, entry in stages:
        if stage.name == "queries" and entry.done:
            counts = read_manifest(entry.folder)["counts"]
            found |= {name: exact(counts[name]) for name in found if name in counts}
    if queries is not None:
        found |= {"sft": exact(queries), "dpo": exact(queries)}
    return found
