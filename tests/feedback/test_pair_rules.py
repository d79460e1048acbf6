"""Our pairs against an independent implementation of the released rules, on random answers.

The implementation below follows the description of thu-coai/VPO `src/process_data.py` (text pairs, video pairs, merge) step by step
and shares no code with ours. Of what the released code leaves to chance (which flawed candidate of a query is kept) it gives all
outcomes. Prompt-A-Video's filter is done the same way, from the description of `booster/dpo/filter.py`.
"""

import random

import pytest

from vpo.feedback.pairing import feedback_pairs, merge, text_pairs, video_candidates, video_pairs
from vpo.feedback.video_rules import VideoRule
from vpo.records import Prompt, Refinement, Score, Verdict

CASES = 10_000
K = 4


# The released rules


def released_video_pairs(records, weights, threshold):
    """records: [{"internal_id": "video_<n>_<k>", "answers": ["yes" or "no"], "prompt"}], four a query, in order."""
    groups = {}
    for record in records:
        groups.setdefault(int(record["internal_id"].split("_")[1]) // 4, []).append(record)
    found = {}
    for group, videos in groups.items():
        for record in videos:
            record["score"] = sum(w for w, answer in zip(weights, record["answers"], strict=True) if answer == "yes")
        for i in videos:
            for j in videos:
                if group in found:
                    break
                strictly = False
                worse = False
                for mine, theirs in zip(i["answers"], j["answers"], strict=True):
                    if mine == "no" and theirs == "yes":
                        worse = True
                    if mine == "yes" and theirs == "no":
                        strictly = True
                if strictly and not worse and i["score"] - j["score"] > threshold:
                    found[group] = (i["prompt"], j["prompt"])
    return found


def released_text_pairs(judged):
    """judged: [(query, prompt, answer of the refiner or None)] of flawed prompts. All pairs that a query may end with."""
    possible = {}
    for query, prompt, answer in judged:
        if answer is None or "[[start]]" not in answer or "[[end]]" not in answer:
            continue
        refined = answer.split("[[start]]")[1].split("[[end]]")[0].strip()
        if "\n" not in refined:
            possible.setdefault(query, set()).add((refined, prompt.strip()))
    return possible


def released_merge(text, video):
    """text, video: {query: pair}; text first, then one a query."""
    merged = []
    for source, pairs in (("text", text), ("video", video)):
        merged += [(query, source, *pair) for query, pair in pairs.items()]
    kept, seen = [], set()
    for row in merged:
        if row[0] not in seen:
            seen.add(row[0])
            kept.append(row)
    return kept


# Random feedback


def random_answers(rng, n):
    """Four lists of answers, of which some come from others by a few changes: unrelated lists hardly ever dominate one another."""
    lists = [[rng.random() < 0.5 for _ in range(n)]]
    while len(lists) < K:
        base = list(rng.choice(lists)) if rng.random() < 0.8 else [rng.random() < 0.5 for _ in range(n)]
        way = rng.random()
        for place in rng.sample(range(n), min(n, rng.choice((0, 1, 2, 3, 6)))):
            base[place] = True if way < 0.45 else False if way < 0.9 else rng.random() < 0.5
        lists.append(base)
    rng.shuffle(lists)
    return lists


def test_video_pairs_are_those_of_the_released_rules():
    rng = random.Random(0)
    accepted = blocked = close = 0
    for case in range(CASES // 4):
        n = rng.choice((1, 3, 8, 64))
        weights = [rng.choice((0.0, 0.0, 0.25, 0.5, 0.125, 1.0)) for _ in range(n)]  # exact in binary: a gap may be 0.5
        prompts, scores, records = [], [], []
        for group in range(4):  # four queries a case: 10,000 in all
            for k, answers in enumerate(random_answers(rng, n)):
                name, query = f"q{group}-{k}", f"q{group}"
                value = sum(w for w, yes in zip(weights, answers, strict=True) if yes)
                prompts.append(Prompt(name, query, f"query {group}", f"  text {group} {k} ", "candidate", k))
                scores.append(Score(f"clip {name}", name, query, value, answers=tuple(answers)))
                records.append(
                    {
                        "internal_id": f"video_{group * 4 + k}_{k}", "prompt": f"text {group} {k}",
                        "answers": ["yes" if yes else "no" for yes in answers],
                    }
                )  # fmt: skip
        rng.shuffle(scores)  # their order is not that of the prompts
        expected = released_video_pairs(records, weights, 0.5)
        pairs = video_pairs(prompts, scores, VideoRule(0.5))
        assert {int(one.query_id[1:]): (one.chosen, one.rejected) for one in pairs} == expected, case
        assert len(pairs) == len(expected)
        accepted += len(expected)
        without_gap = released_video_pairs(records, weights, -1)
        close += len(without_gap) - len(expected)
        blocked += len(video_pairs(prompts, scores, VideoRule(0.5, "none"))) - len(expected)
    assert min(accepted, blocked, close) > 500  # every part of the rule has decided often


def test_a_missing_answer_takes_a_candidate_out():
    """As if it had not been rendered: the released rules, without the candidate, give the same pair."""
    rng = random.Random(1)
    changed = 0
    for _ in range(2000):
        answers = random_answers(rng, 6)
        prompts = [Prompt(f"q-{k}", "q", "query", f"text {k}", "candidate", k) for k in range(K)]
        lost = rng.randrange(K)
        scores, records = [], []
        for k, one in enumerate(answers):
            read = [None if k == lost and place == 2 else yes for place, yes in enumerate(one)]
            scores.append(Score(f"c{k}", f"q-{k}", "q", float(sum(one)), answers=tuple(read)))
            records.append(
                {"internal_id": f"video_{k}_{k}", "prompt": f"text {k}", "answers": ["yes" if y else "no" for y in one]}
            )
        pairs = [(one.chosen, one.rejected) for one in video_pairs(prompts, scores, VideoRule(0.5))]
        whole = released_video_pairs([dict(one) for one in records], [1.0] * 6, 0.5)
        left = released_video_pairs([one for k, one in enumerate(records) if k != lost], [1.0] * 6, 0.5)
        assert pairs == list(left.values())
        changed += whole != left
    assert changed > 200


def test_the_merge_is_that_of_the_released_rules():
    rng = random.Random(2)
    sources = {"text": 0, "video": 0, "none": 0}
    for case in range(CASES // 4):
        prompts, verdicts, refinements, scores, judged, records = [], [], [], [], [], []
        for group in range(4):
            flawed_share = rng.choice((0.0, 0.3, 1.0))
            for k, answers in enumerate(random_answers(rng, 5)):
                name, query, text = f"q{group}-{k}", f"q{group}", f"text {group} {k}"
                prompts.append(Prompt(name, query, f"query {group}", text, "candidate", k))
                fine = rng.random() >= flawed_share
                verdicts.append(Verdict(name, fine, True, True))
                scores.append(Score(f"c{name}", name, query, float(sum(answers)), answers=tuple(answers)))
                records.append(
                    {
                        "internal_id": f"video_{group * 4 + k}_{k}",
                        "prompt": text,
                        "answers": ["yes" if y else "no" for y in answers],
                    }
                )
                if not fine:
                    refined = rng.choice((f"mended {text}", f"two\nlines {text}", None))
                    refinements.append(Refinement(name, query, refined))
                    judged.append((query, text, None if refined is None else f"Well. [[start]] {refined} [[end]]"))
        possible = released_text_pairs(judged)
        text = feedback_pairs(prompts, verdicts, refinements, seed=case, kind="refined", prepended=True)
        drawn = {one.query_id: (one.chosen, one.rejected) for one in text}
        assert drawn.keys() == possible.keys()
        assert all(pair in possible[query] for query, pair in drawn.items())
        video = {f"q{group}": pair for group, pair in released_video_pairs(records, [1.0] * 5, 0.5).items()}
        ours = merge(text, video_pairs(prompts, scores, VideoRule(0.5)))
        rows = [(one.query_id, one.source, one.chosen, one.rejected) for one in ours]
        assert rows == released_merge(drawn, video)
        assert len({one.query_id for one in ours}) == len(ours)
        for row in rows:
            sources[row[1]] += 1
        sources["none"] += 4 - len(rows)
        # What is not rendered could not have made a pair: the merge of the candidates that are rendered is the same, where the
        # video level is asked of fine candidates only.
        rendered = {one.id for one in video_candidates(prompts, verdicts, refinements, kind="refined", prepended=True)}
        fine = {one.prompt_id for one in verdicts if one.fine}
        all_fine = merge(text, video_pairs(prompts, [one for one in scores if one.prompt_id in fine], VideoRule(0.5)))
        few = merge(text, video_pairs(prompts, [one for one in scores if one.prompt_id in rendered], VideoRule(0.5)))
        assert few == all_fine
    assert min(sources.values()) > 200


def test_every_outcome_of_the_released_draw_happens():
    """Which flawed candidate is kept is a uniform draw, over the seeds."""
    prompts = [Prompt(f"q-{k}", "q", "query", f"text {k}", "candidate", k) for k in range(3)]
    refinements = [Refinement(f"q-{k}", "q", f"mended {k}") for k in range(3)]
    counts = [0, 0, 0]
    for seed in range(600):
        (pair,) = text_pairs(prompts, refinements, seed, prepended=True)
        counts[int(pair.rejected[-1])] += 1
    assert min(counts) > 150  # 200 expected, with a standard deviation of 11.5


# Prompt-A-Video


BOUNDS = {"VQ": 2.6, "TC": 2.6, "FC": 2.55, "DD": 2.65, "TVA": 2.9, "AES": 5.5, "MPS": 8.5}
WEIGHTS = {"VQ": 1.0, "TC": 1.0, "FC": 1.0, "DD": 1.1, "TVA": 1.3, "AES": 0.8, "MPS": 1 / 3}
FILTER = VideoRule(1.4, "none", weights=WEIGHTS, least=BOUNDS, ranks=2, max_words=130, per_query=None)


def released_triplets(candidates):
    """candidates: [(prompt, {dimension: value})] of one query. All (chosen, rejected), chosen of rank 1 first."""
    rows = []
    for prompt, s in candidates:
        total = s["VQ"] + s["TC"] + s["FC"] + 1.1 * s["DD"] + 1.3 * s["TVA"] + 0.8 * s["AES"] + s["MPS"] / 3
        rows.append((total, prompt, s))
    rows.sort(key=lambda row: row[0], reverse=True)
    found = []
    for rank in (0, 1):
        total, prompt, s = rows[rank]
        good = s["VQ"] > 2.6 and s["TC"] > 2.6 and s["FC"] > 2.55 and s["DD"] > 2.65 and s["TVA"] > 2.9
        if not (good and s["AES"] > 5.5 and s["MPS"] > 8.5) or len(prompt.split()) > 130:
            continue
        found += [(prompt, other) for theirs, other, _ in rows[rank + 1 :] if total - theirs > 1.4]
    return found


def test_triplets_are_those_of_prompt_a_videos_filter():
    rng = random.Random(3)
    sizes = dict.fromkeys(range(8), 0)
    for _ in range(CASES):
        prompts, scores, candidates = [], [], []
        for k in range(5):
            text = f"text {k} " + "word " * rng.choice((3, 127, 128, 129, 200))  # 128 and two more are 130
            values = {
                name: bound + rng.uniform(-0.2, 1.2) * (3 if name == "MPS" else 1) for name, bound in BOUNDS.items()
            }
            prompts.append(Prompt(f"q-{k}", "q", "query", text, "candidate", k))
            scores.append(Score(f"c{k}", f"q-{k}", "q", 0.0, values))
            candidates.append((text.strip(), values))
        expected = released_triplets(candidates)
        pairs = video_pairs(prompts, scores, FILTER)
        assert sorted((one.chosen, one.rejected) for one in pairs) == sorted(expected)
        assert len({one.id for one in pairs}) == len(pairs)
        sizes[len(pairs)] += 1
    assert all(sizes[n] > 50 for n in range(5)), sizes  # several triplets a prompt, and none


def test_the_overall_score_of_the_filter_by_hand():
    """3 + 3 + 2.6 + 1.1 x 3 + 1.3 x 3 + 0.8 x 6 + 9 / 3 = 23.6."""
    values = {"VQ": 3.0, "TC": 3.0, "FC": 2.6, "DD": 3.0, "TVA": 3.0, "AES": 6.0, "MPS": 9.0}
    assert FILTER.overall(Score("c", "p", "q", None, values)) == pytest.approx(23.6)
    assert FILTER.overall(Score("c", "p", "q", 5.0, {**values, "AES": None})) is None


def at(k, total, **changed):
    """A candidate whose overall score is `total`: MPS takes up the rest of 3 + 3 + 2.6 + 3.3 + 3.9 + 4.8 = 20.6."""
    values = {"VQ": 3.0, "TC": 3.0, "FC": 2.6, "DD": 3.0, "TVA": 3.0, "AES": 6.0, "MPS": (total - 20.6) * 3}
    return Score(f"c{k}", f"q-{k}", "q", 0.0, {**values, **changed})


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # Rank 1 beats ranks 3 to 5 by more than 1.4, rank 2 the last two: several triplets.
        ([at(0, 26), at(1, 25.2), at(2, 24), at(3, 23.7), at(4, 23)], ["0>2", "0>3", "0>4", "1>3", "1>4"]),
        # A gap below 1.4 is none.
        ([at(0, 26), at(1, 24.7)], []),
        # Rank 3 is no anchor, though it beats the last one.
        ([at(0, 25.1), at(1, 25), at(2, 24.9), at(3, 23.45)], ["0>3", "1>3"]),
        # Rank 1 misses a bound (VQ must exceed 2.6): it is not chosen, and rank 2 still is.
        ([at(0, 27, VQ=2.6), at(1, 25), at(2, 23.5)], ["1>2"]),
        # MPS 8.5 is not above its bound.
        ([at(0, 20.6 + 8.5 / 3), at(1, 21)], []),
    ],
)
def test_anchors_of_rank_1_and_2_by_hand(scores, expected):
    prompts = [Prompt(one.prompt_id, "q", "query", one.prompt_id[-1], "candidate", k) for k, one in enumerate(scores)]
    assert [f"{one.chosen}>{one.rejected}" for one in video_pairs(prompts, scores, FILTER)] == expected


def test_a_chosen_prompt_has_at_most_130_words():
    scores = [at(0, 27), at(1, 25)]
    for words, n in ((130, 1), (131, 0)):
        texts = [" ".join(["word"] * words), "other"]
        prompts = [Prompt(f"q-{k}", "q", "query", text, "candidate", k) for k, text in enumerate(texts)]
        assert len(video_pairs(prompts, scores, FILTER)) == n
        rejected_long = [
            Prompt("q-0", "q", "query", "other", "candidate", 0),
            Prompt("q-1", "q", "query", texts[0], "candidate", 1),
        ]
        assert len(video_pairs(rejected_long, scores, FILTER)) == 1  # the rejected one may be long
