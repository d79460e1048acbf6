"""Every expected pair is read off the rules of facts: VPO's paper, section 3.3, and `src/process_data.py`."""

from vpo.pairing import merge, sft_examples, text_pairs, video_candidates, video_pairs
from vpo.records import Pair, Prompt, Refinement, Score, Verdict


def prompt(query, k, text=None):
    return Prompt(f"{query}-{k}", query, f"query {query}", text or f"text {query}{k}", "candidate", k)


def verdict(query, k, fine):
    return Verdict(f"{query}-{k}", fine, True if fine is not None else None, True)


def score(query, k, answers, value):
    return Score(f"c{query}-{k}", f"{query}-{k}", query, value, answers=answers)


def test_sft_data_is_the_fine_draft_or_its_refinement():
    drafts = [prompt("a", 0), prompt("b", 0), prompt("c", 0), prompt("d", 0)]
    verdicts = [verdict("a", 0, True), verdict("b", 0, False), verdict("c", 0, False), verdict("d", 0, None)]
    refinements = [Refinement("b-0", "b", "mended"), Refinement("c-0", "c", None)]
    examples = sft_examples(drafts, verdicts, refinements)
    assert [(one.query_id, one.completion) for one in examples] == [("a", "text a0"), ("b", "mended")]


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
    assert video_candidates([prompts[0], *fine], verdicts, mended, prepended=False) == fine
    assert video_candidates([prompts[0], *fine], verdicts, mended, prepended=True) == []


def test_which_flawed_candidate_is_taken_depends_on_the_seed_alone():
    prompts = [prompt(query, k) for query in "abcdefgh" for k in range(4)]
    refinements = [Refinement(one.id, one.query_id, "better " + one.text) for one in prompts]
    first, again, other = (text_pairs(prompts, refinements, seed, prepended=True) for seed in (0, 0, 1))
    assert first == again
    assert len(first) == 8
    assert first != other


def test_video_pair_needs_dominance_and_a_gap_above_the_threshold():
    prompts = [prompt("a", k) for k in range(4)]
    yes, no = True, False
    scores = [
        score("a", 0, (yes, no, yes), 2.0),  # against 1: better on question 3, worse on 2 -> no dominance
        score("a", 1, (yes, yes, no), 1.0),
        score("a", 2, (yes, no, no), 1.5),  # 0 over 2: dominance, but the gap is 0.5, not above it
        score("a", 3, (no, no, no), 0.9),
    ]
    (pair,) = video_pairs(prompts, scores, threshold=0.5, dominance=True)
    assert (pair.chosen, pair.rejected) == ("text a0", "text a3")  # the first accepted in scan order: i outer, j inner
    assert (pair.chosen_score, pair.rejected_score, pair.source) == (2.0, 0.9, "video")
    (loose,) = video_pairs(prompts, scores, threshold=0.5, dominance=False)
    assert (loose.chosen, loose.rejected) == ("text a0", "text a1")


def test_the_first_accepted_pair_is_kept_not_the_widest():
    prompts = [prompt("a", k) for k in range(3)]
    scores = [score("a", 0, (False,), 0.0), score("a", 1, (True,), 1.0), score("a", 2, (True,), 9.0)]
    (pair,) = video_pairs(prompts, scores, threshold=0.5, dominance=True)
    assert pair.chosen == "text a1"


def test_unscored_clips_make_no_pair():
    prompts = [prompt("a", 0), prompt("a", 1)]
    scores = [score("a", 0, (True,), 3.0), score("a", 1, (None,), None)]
    assert video_pairs(prompts, scores, threshold=0.5, dominance=True) == []


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
    kept = video_candidates(prompts, verdicts, refinements, prepended=True)
    assert [one.id for one in kept] == ["b-0", "b-1", "c-0"]
