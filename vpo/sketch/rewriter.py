"""The rewriter of the sketch world: new prompts take their scenes from the best ones so far, in the place of a language model."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from vpo.records import Failure, Family
from vpo.seeding import seed_of
from vpo.sketch.drafter import SketchDrafter, in_grammar, understood_scene
from vpo.sketch.grammar import Scene
from vpo.sketch.vocabulary import find_facets

OPEN = (
    "colour",
    "motion",
    "place",
    "light",
    "camera",
    "style",
)  # facets that a query may leave open; a count of one is not said


class SketchRewriter:
    """Writes captions of scenes that are put together from the parents' scenes.

    What the query names is kept. Each facet that it leaves open is one of the parents', at random, or with the rate `mutate` a new
    one. What is inherited has stood the test, so a child has the drafter's lapses at `mutate` times their rates only. Without
    parents, and for a query beyond the grammar, the prompt is a draft as the drafter writes it.

    Args:
        mutate: rate at which an open facet is drawn anew, in 0..1.
        drop, change, leak, lead_in, long, bare: rates of the drafter's flaws (`vpo.sketch.drafter.SketchDrafter`).
    """

    def __init__(
        self, mutate: float, drop: float, change: float, leak: float, lead_in: float, long: float, bare: float
    ) -> None:
        rates = {"drop": drop, "change": change, "leak": leak, "lead_in": lead_in, "long": long, "bare": bare}
        self.mutate = mutate
        self.drafter = SketchDrafter(**rates)
        self.teller = SketchDrafter(**{flaw: mutate * rate for flaw, rate in rates.items()})

    def rewrite(self, families: Sequence[Family], n: int, seed: int) -> list[list[str] | Failure]:
        """n new prompts a family; see `vpo.interfaces.Rewriter`."""
        return [
            [self._child(one, seed_of("evolve", seed, one.query.id, one.generation, k)) for k in range(n)]
            for one in families
        ]

    def _child(self, family: Family, seed: int) -> str:
        query = family.query
        if not family.parents or (query.truth is None and not in_grammar(query.text)):
            return self.drafter.draft_with_truth(query, seed)[0]
        return self.teller.draft_with_truth(query, seed, self._scene(family, Random(seed)))[0]

    def _scene(self, family: Family, rng: Random) -> Scene:
        """The scene of a child."""
        named = find_facets(family.query.text)
        inherited = [{f: one.concept for f, one in find_facets(parent.text).items()} for parent in family.parents]
        scene, kept = understood_scene(family.query, named, rng), {*named, *(family.query.truth or {})}
        for facet in OPEN:
            concept = rng.choice(inherited).get(facet)
            if facet not in kept and concept is not None and rng.random() >= self.mutate:
                scene = replace(scene, **{facet: concept})
        return scene
