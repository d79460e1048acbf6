"""The pipeline's own way from candidates to pairs, with text and video feedback, against the released rules.

What is sampled, judged, refined and scored is given; what is rendered, and which pairs come of it, is what the pipeline makes of it.
"""

import random
from dataclasses import dataclass, field

import pytest
import yaml

from tests.conftest import ROOT
from tests.feedback.test_pair_rules import K, random_answers, released_text_pairs, released_video_pairs
from vpo.pipeline import gather_feedback
from vpo.records import Pair, Prompt, Refinement, Score, Verdict
from vpo.stages.context import Context
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry, Store

FEEDBACK = yaml.safe_load((ROOT / "conf/feedback/base/vpo.yaml").read_text(encoding="utf-8"))
QUERIES = 300


@dataclass
class World:
    """The candidates of all queries, and what judge and reward say of them, in our records and in those of the released code."""

    prompts: list[Prompt] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    refinements: list[Refinement] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    judged: list[tuple] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)


def random_world(seed: int) -> World:
    """Queries whose candidates are fine, flawed with a usable refinement or none, unread, or failed on by the judge."""
    rng, world = random.Random(seed), World()
    for query in range(QUERIES):
        flawed, usable = rng.choice((0.0, 0.3, 0.7)), rng.choice((0.0, 0.5, 1.0))
        for k, answers in enumerate(random_answers(rng, 4)):
            name, text = f"{query}-{k}", f"text {query} {k}"
            world.prompts.append(Prompt(name, str(query), f"query {query}", text, "candidate", k))
            world.scores.append(Score(f"c{name}", name, str(query), float(sum(answers)), {"kept": 1.0}, tuple(answers)))
            yes_no = ["yes" if one else "no" for one in answers]
            world.records.append({"internal_id": f"video_{query * K + k}_{k}", "prompt": text, "answers": yes_no})
            fine = rng.random() >= flawed
            unread, failed = (rng.random() < 0.05 for _ in range(2))
            if failed:
                continue
            answer = None if unread else fine
            world.verdicts.append(Verdict(name, answer, answer if unread else True, answer if unread else True))
            if answer is False:
                refined = f"mended {text}" if rng.random() < usable else rng.choice((f"two\nlines {text}", None))
                world.refinements.append(Refinement(name, str(query), refined))
                world.judged.append((str(query), text, None if refined is None else f"[[start]] {refined} [[end]]"))
    return world


@dataclass
class Given(Context):
    """Gives what a world says in the place of the roles' work; chooses what to render, and makes pairs, as ever."""

    world: World = field(default_factory=World)
    rendered: set[str] = field(default_factory=set)

    def make(self, stage) -> Entry:
        if stage.name == "render":
            self.rendered = {one.id for one in stage._prompts()}
        scores = [one for one in self.world.scores if one.prompt_id in self.rendered]
        files = {
            "sample": ("prompts.jsonl", self.world.prompts), "critique": ("verdicts.jsonl", self.world.verdicts),
            "refine": ("refinements.jsonl", self.world.refinements), "score": ("scores.jsonl", scores), "render": ("clips.jsonl", []),
        }  # fmt: skip
        if stage.name not in files:
            return super().make(stage)
        name, rows = files[stage.name]
        return self.store.get(stage.name, {"of": "the world"}, {}, lambda folder: write_rows(folder / name, rows) or {})


@pytest.mark.parametrize("among", ["all", "fine"])
def test_pairs_of_the_pipeline_are_those_of_the_released_rules(tmp_path, among):
    """With all candidates it is the released code; with fine ones it is the code on what passes the paper's text check."""
    world = random_world(seed=3)
    context = Given(Store(tmp_path), world=world)
    queries = context.store.get("queries", {}, {}, lambda folder: {})
    names = ("sampling", "backbone", "judge", "generator", "reward")
    feedback = {**FEEDBACK, "prepended": True, "among": among}
    cfg = {"feedback": feedback, **{name: {"_target_": f"vpo.sketch.{name}"} for name in names}}
    pairs = gather_feedback(context, cfg, queries, queries, seed=0).rows("pairs.jsonl", Pair)

    possible = released_text_pairs(world.judged)
    text = {one.query_id: (one.chosen, one.rejected) for one in pairs if one.source == "text"}
    assert text.keys() == possible.keys()
    assert all(pair in possible[query] for query, pair in text.items())

    fine = {one.prompt_id for one in world.verdicts if one.fine}
    names_of = {one.text: one.id for one in world.prompts}
    compared = [one for one in world.records if among == "all" or names_of[one["prompt"]] in fine]
    expected = {str(query): pair for query, pair in released_video_pairs(compared, [1.0] * 4, 0.5).items()}
    video = {one.query_id: (one.chosen, one.rejected) for one in pairs if one.source == "video"}
    assert video == {query: pair for query, pair in expected.items() if query not in possible}
    assert len(pairs) == len(text) + len(video)
    assert {one.provenance["rule"]["among"] for one in pairs if one.source == "video"} == {among}

    flawed = sum(names_of[prompt] not in fine for pair in video.values() for prompt in pair)
    assert (flawed > 15) if among == "all" else (flawed == 0)
    assert min(len(text), len(video)) > 40
    # Queries with a text pair are not rendered: they have no use of a video pair.
    assert {name.split("-")[0] for name in context.rendered}.isdisjoint(possible)
