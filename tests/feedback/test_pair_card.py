"""The data card of pairs: its numbers by hand, and the files that the stage leaves."""

import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from vpo.assets.folder import VARIABLE
from vpo.feedback.describe import (
    Feedback,
    count_reasons,
    extra_words,
    lexical_distance,
    mean_of,
    reasons_of,
    share_of,
    without_pair,
)
from vpo.records import Pair, Prompt, Refinement, Score, Verdict, to_json
from vpo.stages.context import Context
from vpo.stages.pair import MakePairs
from vpo.stages.pair_card import LEXICAL, card_text, measure_distances
from vpo.storage.rows import write_rows
from vpo.storage.store import Store

RULES = {
    "text": True,
    "video": True,
    "threshold": 0.5,
    "dominance": "answers",
    "text_pairs": "refined",
    "prepended": False,
}


@pytest.fixture(autouse=True)
def no_assets(tmp_path, monkeypatch):
    """No sentence encoder at hand: distances are of words, on every machine."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "assets"))


def pair(better, worse, source="text", query="q", **provenance):
    return Pair(query, "query", better, worse, source, provenance=provenance)


def test_means_and_shares_by_hand():
    # s^2 = ((1 - 3)^2 + (3 - 3)^2 + (5 - 3)^2) / 2 = 4; 1.96 x 2 / sqrt(3) = 2.2632
    mean = mean_of([1, 3, 5])
    assert (mean.value, mean.half, str(mean)) == (3.0, pytest.approx(2.2632, abs=1e-4), "3.00 ± 2.26")
    assert (mean_of([2]).half, str(mean_of([2])), mean_of([])) == (None, "2.00", None)
    # Wilson for 4 of 4: 1 / (1 + 1.96^2 / 4) = 0.5101 to 1
    assert share_of([True] * 4) == (1.0, pytest.approx(0.5101, abs=1e-4), 1.0)
    share, low, high = share_of([True, False])
    assert share == 0.5
    assert low + high == pytest.approx(1.0)


def test_distance_and_length_by_hand():
    assert lexical_distance("A red dog runs.", "a red cat runs") == pytest.approx(1 - 3 / 5)
    assert (lexical_distance("same", "Same!"), lexical_distance("a", "b"), lexical_distance("", "!")) == (0.0, 1.0, 0.0)
    assert extra_words(pair("a b c", "a b c d e")) == -2


def test_reasons_are_flaws_of_the_rejected_side_or_better_dimensions():
    reasons = [{"aspect": "helpful", "kind": "too_short", "detail": "5"}, {"aspect": "helpful", "kind": "no_facet", "detail": "a"},
               {"aspect": "helpful", "kind": "no_facet", "detail": "b"}]  # fmt: skip
    text = pair("a", "b", rejected={"verdict": {"reasons": reasons}})
    assert reasons_of(text) == ("helpful: too_short", "helpful: no_facet")
    refusal = pair("a", "b", rejected={"verdict": {"reasons": [], "refusal": True}})
    scores = {"chosen": {"score": {"dimensions": {"x": 2.0, "y": 1.0, "z": None}}},
              "rejected": {"score": {"dimensions": {"x": 1.0, "y": 1.0, "z": 0.0}}}}  # fmt: skip
    video = pair("a", "b", "video", **scores)
    assert (reasons_of(refusal), reasons_of(video)) == (("refusal",), ("better: x",))
    assert (reasons_of(pair("a", "b")), reasons_of(pair("a", "b", "video"))) == (
        ("no reason recorded",),
        ("a higher score",),
    )
    assert count_reasons([text, refusal, video]) == {
        "text": {"helpful: too_short": 1, "helpful: no_facet": 1, "refusal": 1}, "video": {"better: x": 1}
    }  # fmt: skip


def test_why_queries_have_no_pair():
    def prompts(query, *texts):
        return [Prompt(f"{query}-{k}", query, "query", text, "candidate", k) for k, text in enumerate(texts)]

    candidates = [
        *prompts("paired", "x", "y"), *prompts("one text", "x", "x"), *prompts("unread", "x", "y"), *prompts("stuck", "x", "y"),
        *prompts("close", "x", "y"), *prompts("fine", "x", "y"), *prompts("refused", "x", "y"),
    ]  # fmt: skip
    fine = {"unread-0": None, "stuck-1": False, "refused-0": False, "refused-1": False}
    verdicts = [Verdict(one.id, True, fine.get(one.id, True), True) for one in candidates]
    scores = [Score(f"c{k}", f"close-{k}", "close", 1.0) for k in range(2)]
    refinements = [Refinement("stuck-1", "stuck", None), Refinement("refused-0", "refused", "two\nlines")]
    feedback = Feedback(candidates, verdicts, refinements, scores, failed=["lost", "lost", "paired"])
    assert without_pair(feedback, {"paired"}) == {
        "all candidates are one text": 1,
        "the judge failed on a candidate, and the others differ too little": 1,
        "flawed candidates that could not be refined, and no other preference": 1,
        "scores of the clips too close, or none dominates another": 1,
        "all candidates are fine, and no clips were compared": 1,
        "refined texts of flawed candidates, but none that a pair may have, and no other preference": 1,
        "all candidates failed": 1,
    }
    sampled = without_pair(replace(feedback, refined_pairs=False), {"paired", "lost", "one text", "unread", "close"})
    assert sampled == {
        "no usable difference": 1,  # of stuck: one fine candidate and a flawed one, which only an empty text keeps apart
        "all candidates are fine, and no clips were compared": 1,
        "all candidates are flawed, and refined texts make no pairs": 1,
    }


def test_the_card_counts_queries_that_were_asked_about_and_candidates_that_failed():
    prompts = [Prompt("a-0", "a", "query", "text", "candidate", 0), Prompt("b-1", "b", "query", "text", "candidate", 1)]
    pairs = [pair("x", "y", query="a")]
    card = card_text(pairs, Feedback(prompts, failed=["b", "c", "c"]), measure_distances(pairs))
    assert "1 pairs of 1 queries; 2 of 3 queries had candidates (2 in all); 3 more candidates failed." in card
    assert "| all candidates failed | 1 |" in card


def test_the_card_of_given_pairs_counts_the_queries_and_all_versions_that_made_them():
    """Of four queries three came with a pair: one of ours, made by another judge, and two of others."""
    ours = {"vpo": "0.1", "judge": {"class": "x.Judge", "result": "critique/1"}}
    pairs = [pair("x", "y", query="a", versions={"vpo": "0.1"}), pair("x", "y", query="b", versions=ours),
             pair("x", "y", query="c", versions={"vpo": "0.1"})]  # fmt: skip
    card = card_text(pairs, Feedback(given=["a", "b", "c", "d"]), measure_distances(pairs))
    assert "3 pairs of 3 queries; 4 queries were given, with their pairs or without." in card
    assert "| came without a pair | 1 |" in card
    made_by = card.partition("## Made by")[2]
    assert " ".join(made_by.split()) == (
        "Of 2 pairs: | | | |---|---| | vpo | 0.1 | Of 1 pairs: | | | |---|---| | vpo | 0.1 | "
        "| judge | class x.Judge, result critique/1 |"
    )


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        (
            [("a b c", "a b")] * 20,
            "It mostly is: of the 20 pairs whose sides differ in length, the chosen one is the longer in 100%",
        ),
        ([("a b", "a b c")] * 20, "No, it is rather the shorter one"),
        (
            [("a b", "a b c"), ("a b c", "a b")] * 10,
            "No: of the 20 pairs .* the longer in 50% .*no clear preference for length",
        ),
        ([("a b", "c d")], "Both sides have the same number of words in every pair"),
    ],
)
def test_the_card_says_whether_chosen_is_merely_longer(sides, sentence):
    pairs = [pair(*one, query=f"q{k}") for k, one in enumerate(sides)]
    assert re.search(sentence, card_text(pairs, Feedback([]), measure_distances(pairs)))


def test_texts_cannot_leave_their_place_on_the_card():
    hostile = "<script>x</script> | # a\n\n# b `c` ![d](http://e) \x1b[31m"
    pairs = [Pair("q", hostile, hostile + " chosen", "rejected", "text")]
    lines = card_text(pairs, Feedback([]), measure_distances(pairs)).split("\n")
    shown = next(line for line in lines if line.startswith("- query:"))
    assert shown == r"- query: &lt;script&gt;x&lt;/script&gt; \| \# a \# b \`c\` \!\[d\](http://e) \[31m"
    assert not any(line.startswith("# b") for line in lines)


def stored(context, stage, files, node=None):
    def work(folder):
        for name, rows in files.items():
            write_rows(folder / name, rows)
        return {}

    return context.store.get(stage, node or {}, {}, work)


def test_the_stage_leaves_pairs_with_their_versions_and_a_card(tmp_path):
    """Query a has a text pair, b a video pair, c none; the candidates of d-e failed."""
    context = Context(Store(tmp_path / "store"))
    prompts = [Prompt(f"{q}-{k}", q, f"query {q}", f"text {q} {k}", "candidate", k) for q in "abc" for k in range(2)]
    failed = [{"id": f"d-e-{k}", "failure": {"kind": "timeout", "detail": "x"}} for k in range(2)]
    verdicts = [Verdict(one.id, True, one.id != "a-0", True, judge="rules 2") for one in prompts]
    scores = [
        Score(f"c{q}{k}", f"{q}-{k}", q, v, {"x": v}, (v > 1,))
        for q, k, v in (("b", 0, 2.0), ("b", 1, 1.0), ("c", 0, 1.0))
    ]
    backbone = {
        "_target_": "vpo.backbone.hf.HFBackbone",
        "model": "org/name",
        "revision": "0" * 40,
        "template": "tiny",
        "dtype": "x",
    }
    judge = {"_target_": "vpo.judge.rules.judge.RulesJudge", "min_words": 3,
             "engine": {"_target_": "vpo.language.hf.PretrainedEngine", "model": "org/judge", "batch_size": 4}}  # fmt: skip
    entry = context.make(
        MakePairs(
            feedback=RULES, seed=0,
            candidates=stored(context, "sample", {"prompts.jsonl": prompts, "prompts.failures.jsonl": failed}, {"backbone": backbone}),
            verdicts=stored(context, "critique", {"verdicts.jsonl": verdicts}, {"judge": judge}),
            refinements=stored(context, "refine", {"refinements.jsonl": [Refinement("a-0", "a", "other words")]}),
            scores=stored(context, "score", {"scores.jsonl": scores}, {"reward": {"_target_": "vpo.sketch.reward.SketchReward"}}),
        )
    )  # fmt: skip
    text, video = entry.rows("pairs.jsonl", Pair)
    assert (text.source, video.source, video.query) == ("text", "video", "query b")
    assert text.provenance["rejected"]["verdict"]["judge"] == "rules 2"
    assert video.provenance["chosen"]["candidate"] == "b-0"
    for one in (text, video):
        versions = one.provenance["versions"]
        assert versions["policy"]["model"] == "org/name"
        assert (versions["template"]["name"], len(versions["template"]["sha256"])) == ("tiny", 64)
        assert versions["judge"]["engine"] == {"class": "vpo.language.hf.PretrainedEngine", "model": "org/judge"}
        assert "min_words" not in versions["judge"]  # a setting: it lies in the manifest of the named result
        assert (tmp_path / "store" / versions["judge"]["result"] / "manifest.json").exists()
        assert versions["reward"]["class"] == "vpo.sketch.reward.SketchReward"
    json.dumps(to_json(text))
    card = (entry.folder / "card.md").read_text(encoding="utf-8")
    assert "2 pairs of 2 queries; 3 of 4 queries had candidates (6 in all); 2 more candidates failed" in card
    assert "| all candidates failed | 1 |" in card
    assert f"Distance: {LEXICAL}" in card
    assert "| all candidates are fine, and no clips were compared | 1 |" in card  # of c one clip alone has a score
    assert "- chosen, score 2.00: text b 0" in card
    with Image.open(entry.folder / "card.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(10**6)) > 50  # something is drawn


@pytest.mark.slow
def test_distances_are_of_embeddings_where_the_encoder_is_at_hand(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    pairs = [
        pair("A red dog runs on the beach.", "A red dog runs on a beach."),
        pair("A red dog runs.", "Stock prices fell today."),
    ]
    found = measure_distances(pairs)
    if found.measure == LEXICAL:
        pytest.skip("the asset all-minilm-l6-v2 is not here: `vpo assets get all-minilm-l6-v2`")
    assert found.values[0] < 0.1 < 0.5 < found.values[1]
