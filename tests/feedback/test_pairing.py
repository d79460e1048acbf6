"""Every expected pair is read off the rules of facts: VPO's paper, section 3.3, and `src/process_data.py`."""

from dataclasses import replace

import pytest

from vpo import targets
from vpo.errors import UserError
from vpo.feedback.pairing import (
    feedback_pairs,
    merge,
    sampled_pairs,
    sft_examples,
    text_pairs,
    video_candidates,
    video_pairs,
)
from vpo.feedback.video_rules import VideoRule
from vpo.records import Clip, Pair, Prompt, Refinement, Score, Verdict
from vpo.stages.context import Context
from vpo.stages.pair import MakePairs
from vpo.stages.score import ScoreClips
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.store import Store


def prompt(query, k, text=None):
    return Prompt(f"{query}-{k}", query, f"query {query}", text or f"text {query}{k}", "candidate", k)


def verdict(query, k, fine):
    return Verdict(f"{query}-{k}", fine, True if fine is not None else None, True)


def score(query, k, answers, value):
    return Score(f"c{query}-{k}", f"{query}-{k}", query, value, answers=answers)


def floats(query, k, value, **dimensions):
    return Score(f"c{query}-{k}", f"{query}-{k}", query, value, dimensions)


def test_sft_data_is_the_fine_draft_or_its_refinement():
    drafts = [prompt("a", 0), prompt("b", 0), prompt("c", 0), prompt("d", 0)]
    verdicts = [verdict("a", 0, True), verdict("b", 0, False), verdict("c", 0, False), verdict("d", 0, None)]
    refinements = [Refinement("b-0", "b", "mended"), Refinement("c-0", "c", None)]
    examples = sft_examples(drafts, verdicts, refinements)
    assert [(one.query_id, one.completion) for one in examples] == [("a", "text a0"), ("b", "mended")]


def test_a_draft_whose_verdict_failed_is_no_sft_data():
    examples = sft_examples([prompt("a", 0), prompt("b", 0)], [verdict("b", 0, True)], [])
    assert [one.query_id for one in examples] == ["b"]


def test_what_was_cut_off_is_no_sft_data_and_not_preferred_for_its_text():
    whole, cut = prompt("a", 0), replace(prompt("a", 1), cut=True)
    verdicts = [verdict("a", 0, False), verdict("a", 1, True)]
    assert sft_examples([cut], verdicts, []) == []
    assert sampled_pairs([whole, cut], verdicts, 0) == []


def test_text_pairs_are_refined_over_flawed_one_a_query():
    prompts = [prompt("a", 0), prompt("a", 1), prompt("b", 0), prompt("c", 0, "same")]
    refinements = [
        Refinement("a-0", "a", "two\nlines"),  # unusable: the query keeps its other candidate
        Refinement("a-1", "a", "mended a1"),
        Refinement("b-0", "b", None),
        Refinement("c-0", "c", " same "),  # nothing changed: no preference
    ]
    assert text_pairs(prompts, refinements, seed=0, prepended=True) == [
        Pair("a", "query a", "mended a1", "text a1", "text")
    ]


def test_an_empty_candidate_is_no_side_of_a_text_pair():
    """Not even where the judge wrote a prompt in its place: nothing can be learnt from its tokens."""
    prompts = [Prompt("p0", "q", "a dog", " \n", "candidate", 0)]
    assert text_pairs(prompts, [Refinement("p0", "q", "A dog runs.")], seed=0, prepended=True) == []


def test_a_refinement_in_front_of_the_flawed_text_is_preferred_only_on_request():
    flawed = "A white boat is flying over the woods. The camera stays fixed."
    prompts = [prompt("a", 0, flawed), prompt("b", 0, flawed), prompt("b", 1, "A second text that is flawed.")]
    refinements = [
        Refinement("a-0", "a", f"A blue boat at sea. {flawed}"),  # a boat of two colours, in two places
        Refinement("b-0", "b", f"A blue boat at sea. {flawed}"),
        Refinement("b-1", "b", "A second text that is mended."),
    ]
    (pair,) = text_pairs(prompts, refinements, seed=0, prepended=False)
    assert (pair.query_id, pair.chosen) == ("b", "A second text that is mended.")
    assert len(text_pairs(prompts, refinements, seed=0, prepended=True)) == 2
    # The query left without a text pair may compete by its clips.
    fine = [prompt("a", 1), prompt("a", 2)]
    verdicts = [verdict("a", 0, False), verdict("a", 1, True), verdict("a", 2, True)]
    mended = refinements[:1]
    assert video_candidates([prompts[0], *fine], verdicts, mended, kind="refined", prepended=False) == fine
    assert video_candidates([prompts[0], *fine], verdicts, mended, kind="refined", prepended=True) == []


def test_which_flawed_candidate_is_taken_depends_on_the_seed_alone():
    prompts = [prompt(query, k) for query in "abcdefgh" for k in range(4)]
    refinements = [Refinement(one.id, one.query_id, "better " + one.text) for one in prompts]
    first, again, other = (text_pairs(prompts, refinements, seed, prepended=True) for seed in (0, 0, 1))
    assert first == again
    assert len(first) == 8
    assert first != other


def test_sampled_pairs_are_fine_over_flawed_of_the_same_query():
    prompts = [
        prompt("a", 0), prompt("a", 1),  # fine, flawed
        prompt("b", 0), prompt("b", 1),  # both fine: nothing to prefer
        prompt("c", 0), prompt("c", 1),  # flawed and unread: None is no side of a pair
        prompt("d", 0, "same"), prompt("d", 1, " same "),  # one text cannot be better than itself
        prompt("e", 0, " "), prompt("e", 1),  # an empty text is no side
        prompt("f", 0), prompt("f", 1),  # the judge failed on the first
    ]  # fmt: skip
    verdicts = [
        verdict("a", 0, True), verdict("a", 1, False), verdict("b", 0, True), verdict("b", 1, True),
        verdict("c", 0, False), verdict("c", 1, None), verdict("d", 0, True), verdict("d", 1, False),
        verdict("e", 0, False), verdict("e", 1, True), verdict("f", 1, False),
    ]  # fmt: skip
    assert sampled_pairs(prompts, verdicts, seed=0) == [Pair("a", "query a", "text a0", "text a1", "sampled")]


def test_both_sides_of_sampled_pairs_are_drawn_by_the_seed():
    prompts = [prompt(query, k) for query in "abcdefgh" for k in range(6)]
    verdicts = [verdict(one.query_id, one.index, one.index % 2 == 0) for one in prompts]
    first, again, other = (sampled_pairs(prompts, verdicts, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert [one.query_id for one in first] == list("abcdefgh")
    assert len({one.chosen[-1] for one in first}) > 1
    assert len({one.rejected[-1] for one in first}) > 1
    for one in first:
        assert int(one.chosen[-1]) % 2 == 0
        assert int(one.rejected[-1]) % 2 == 1


def test_text_pairs_are_of_the_chosen_kind():
    """Query a has a fine and a flawed candidate with a refinement, b a refined one only, c a fine and a flawed one without."""
    prompts = [prompt(query, k) for query in "abc" for k in range(2)]
    verdicts = [verdict("a", 0, True), verdict("a", 1, False), verdict("b", 0, False), verdict("b", 1, False),
                verdict("c", 0, True), verdict("c", 1, False)]  # fmt: skip
    refinements = [Refinement("a-1", "a", "mended a"), Refinement("b-0", "b", "mended b"), Refinement("c-1", "c", None)]
    refined = [Pair("a", "query a", "mended a", "text a1", "text"), Pair("b", "query b", "mended b", "text b0", "text")]
    sampled = [
        Pair("a", "query a", "text a0", "text a1", "sampled"),
        Pair("c", "query c", "text c0", "text c1", "sampled"),
    ]
    found = {
        kind: feedback_pairs(prompts, verdicts, refinements, 0, kind=kind, prepended=True)
        for kind in ("refined", "sampled", "both")
    }
    assert found == {"refined": refined, "sampled": sampled, "both": refined + sampled}
    assert len({one.id for one in found["both"]}) == 4  # training and reference know pairs by their ids
    # A video pair is possible only for a query without any of them.
    fine = [prompts[0], prompts[4]]
    for kind, left in (("refined", ["c-0"]), ("sampled", []), ("both", [])):
        kept = video_candidates(fine + prompts, verdicts, refinements, kind=kind, prepended=True)
        assert sorted({one.id for one in kept}) == left, kind


def test_video_pair_needs_dominance_and_a_gap_above_the_threshold():
    prompts = [prompt("a", k) for k in range(4)]
    yes, no = True, False
    scores = [
        score("a", 0, (yes, no, yes), 2.0),  # against 1: better on question 3, worse on 2 -> no dominance
        score("a", 1, (yes, yes, no), 1.0),
        score("a", 2, (yes, no, no), 1.5),  # 0 over 2: dominance, but the gap is 0.5, not above it
        score("a", 3, (no, no, no), 0.9),
    ]
    (pair,) = video_pairs(prompts, scores, VideoRule(0.5, "answers"))
    assert (pair.chosen, pair.rejected) == ("text a0", "text a3")  # the first accepted in scan order: i outer, j inner
    assert (pair.chosen_score, pair.rejected_score, pair.source) == (2.0, 0.9, "video")
    (loose,) = video_pairs(prompts, scores, VideoRule(0.5, "none"))
    assert (loose.chosen, loose.rejected) == ("text a0", "text a1")


def test_the_first_accepted_pair_is_kept_not_the_widest():
    prompts = [prompt("a", k) for k in range(3)]
    scores = [score("a", 0, (False,), 0.0), score("a", 1, (True,), 1.0), score("a", 2, (True,), 9.0)]
    (pair,) = video_pairs(prompts, scores, VideoRule(0.5, "answers"))
    assert pair.chosen == "text a1"


def test_unscored_clips_make_no_pair():
    prompts = [prompt("a", 0), prompt("a", 1)]
    scores = [score("a", 0, (True,), 3.0), score("a", 1, (None,), None)]
    assert video_pairs(prompts, scores, VideoRule(0.5, "answers")) == []


def test_dimensions_may_decide_in_place_of_answers():
    prompts = [prompt("a", k) for k in range(4)]
    scores = [
        floats("a", 0, 3.0, quality=2.0, motion=1.0),  # over 1: less motion; over 2: no dimension worse, one better
        floats("a", 1, 2.0, quality=0.5, motion=1.5),
        floats("a", 2, 1.0, quality=1.0, motion=1.0),
        floats("a", 3, 0.0, quality=0.0, motion=None),  # unknown: nothing dominates it
    ]
    (pair,) = video_pairs(prompts, scores, VideoRule(0.5, "dimensions"))
    assert (pair.chosen, pair.rejected, pair.chosen_score) == ("text a0", "text a2", 3.0)
    (alone,) = video_pairs(prompts, scores, VideoRule(0.5, "none"))
    assert (alone.chosen, alone.rejected) == ("text a0", "text a1")
    equal = [floats("a", 0, 3.0, quality=1.0), floats("a", 1, 1.0, quality=1.0)]
    assert video_pairs(prompts, equal, VideoRule(0.5, "dimensions")) == []


@pytest.mark.parametrize(
    ("dominance", "given", "cure"),
    [
        ("answers", {"dimensions": {"quality": 1.0}}, "set feedback.dominance to dimensions or none"),
        ("dimensions", {"answers": (True,)}, r"set feedback.dominance to answers \(of a checklist\) or none"),
    ],
)
def test_a_reward_without_what_the_rule_compares_is_an_error_and_not_no_pairs(dominance, given, cure):
    scores = [Score(f"c-{k}", f"a-{k}", "a", float(k), **given) for k in range(2)]
    with pytest.raises(
        UserError, match=rf"feedback.dominance={dominance}, but the reward gives no {dominance} .*{cure}"
    ):
        video_pairs([prompt("a", 0), prompt("a", 1)], scores, VideoRule(0.5, dominance))
    unread = [Score("c-0", "a-0", "a", None)]  # a clip that could not be read has neither, whatever the reward
    assert video_pairs([prompt("a", 0)], unread, VideoRule(0.5, dominance)) == []


@pytest.fixture
def tests_allowed():
    targets.allow(["tests."])
    yield
    targets.allow([])


class WordReward:
    """A reward that gives floats: how many words a clip's prompt has, and how many of them name a colour."""

    def __init__(self, colours):
        self.colours = colours

    def score(self, clips):
        return [self._score(clip) for clip in clips]

    def card(self):
        return {"name": "words"}

    def _score(self, clip):
        words = clip.prompt.split()
        coloured = float(sum(word in self.colours for word in words))
        return Score(
            clip.id, clip.prompt_id, clip.query_id, len(words) / 2, {"length": len(words) / 2, "colour": coloured}
        )


# The values are 2.5, 2, 1 and 0.5; colours 0, 1, 1 and 0.
TEXTS = ("a big dog runs fast", "a red dog runs", "red dog", "dog")


@pytest.mark.parametrize(
    ("dominance", "chosen", "rejected"),
    [
        ("none", "a big dog runs fast", "red dog"),  # a gap of 0.5 is not above the threshold of 0.5, 1.5 is
        ("dimensions", "a big dog runs fast", "dog"),  # over "red dog" it has less colour
        ("answers", None, None),
    ],
)
def test_a_reward_of_floats_gives_pairs_through_the_stages(tmp_path, tests_allowed, dominance, chosen, rejected):
    context = Context(Store(tmp_path))
    prompts = [prompt("a", k, text) for k, text in enumerate(TEXTS)]
    clips = [Clip(one.id, one.id, "a", "a dog", one.text, f"{one.id}.mp4", 0, 4, 8.0, 64, 64) for one in prompts]

    def stored(stage, file, records):
        def work(folder):
            write_rows(folder / file, records)
            return {}

        return context.store.get(stage, {}, {}, work)

    candidates, rendered = stored("sample", "prompts.jsonl", prompts), stored("render", "clips.jsonl", clips)
    reward = {"_target_": "tests.feedback.test_pairing.WordReward", "colours": ["red"]}
    scores = context.make(ScoreClips(reward=reward, clips=rendered))
    pairing = MakePairs(
        feedback={"text": False, "video": True, "threshold": 0.5, "dominance": dominance},
        candidates=candidates, scores=scores, seed=0,
    )  # fmt: skip
    if chosen is None:
        with pytest.raises(UserError, match=r"pair: feedback.dominance=answers, but the reward gives no answers"):
            context.make(pairing)
        return
    (pair,) = read_rows(context.make(pairing).folder / "pairs.jsonl", Pair)
    assert (pair.chosen, pair.rejected, pair.source) == (chosen, rejected, "video")


def test_text_wins_the_merge():
    text = [Pair("a", "q", "1", "2", "text")]
    video = [Pair("a", "q", "3", "4", "video"), Pair("b", "q", "5", "6", "video")]
    assert [(one.query_id, one.source) for one in merge(text, video)] == [("a", "text"), ("b", "video")]


def test_clips_are_needed_only_where_a_video_pair_can_come_of_it():
    prompts = [prompt("a", 0), prompt("a", 1), prompt("b", 0), prompt("b", 1), prompt("c", 0), prompt("c", 1)]
    verdicts = [
        verdict("a", 0, True), verdict("a", 1, False), verdict("b", 0, True), verdict("b", 1, True),
        verdict("c", 0, True), verdict("c", 1, False),
    ]  # fmt: skip
    refinements = [Refinement("a-1", "a", "mended"), Refinement("c-1", "c", None)]
    kept = video_candidates(prompts, verdicts, refinements, kind="refined", prepended=True)
    assert [one.id for one in kept] == ["b-0", "b-1", "c-0"]
