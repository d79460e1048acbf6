"""Each rule by hand, and what holds of all of them."""

import random
from collections import Counter

import pytest

from tests.curation.conftest import QUERIES
from vpo.curation.dealing import apportion, deal
from vpo.curation.reading import plain_text, words_of
from vpo.curation.report import Report, draw_lengths
from vpo.curation.rules import characters_reason, keyword_reason, length_reason
from vpo.curation.safety import COLUMNS, is_labelled, judged_reason, toxicity, unread_reason
from vpo.curation.screening import EXAMPLES, Pool, Seen, Step, screen
from vpo.curation.selecting import Pools, confirmed, dealt
from vpo.language.markup import without_marks
from vpo.records import Failure, Query, Reason, Verdict

LENGTH = {"least_words": 3, "most_words": 5, "most_characters": 30}
CHARACTERS = {"most_special": 0.1, "longest_run": 4}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a cat runs", None),
        ("one two three four five", None),
        ("a cat", "2 words, below 3"),
        ("a cat -ar 16:9 -motion 2", "2 words, below 3"),  # flags are no words
        ("one two three four five six", "6 words, above 5"),
        ("a cat's paw", None),  # of three words
        ("", "0 words, below 3"),
        ("🐈 🐈 🐈", "0 words, below 3"),
        ("abc " * 10, "40 characters, above 30"),
    ],
)
def test_length(text, reason):
    assert length_reason(text, **LENGTH) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A cat, 'red' (as fire); it runs - and runs!? \"Yes\": 50% & more…", None),
        ("les élèves à Noël, 两只猫在玩。हिन्दी में बिल्ली، قطة", None),  # letters and marks of any script
        ("0123456☺☺", "22% special characters, above 10%"),
        ("012345678☺", None),  # exactly a tenth
        ("a cat {{{}}} ###", "56% special characters, above 10%"),  # 9 of 16
        ("soooo nice", None),
        ("sooooo nice", "'o' 5 times in a row, above 4"),
        ("wow!!!!! nice", "'!' 5 times in a row, above 4"),
        ("a          cat", None),  # white space says nothing
        ("a c\ufffdt", "a character that could not be decoded (U+FFFD)"),
        ("", None),
    ],
)
def test_characters(text, reason):
    assert characters_reason(text, **CHARACTERS) == reason


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a Cat runs", "cat"),
        ("concatenate", None),  # no whole word
        ("cats", None),
        ("join\nUS now", "join us"),  # any white space, any case
        ("rejoin us", None),
        ("see discord.gg/abc", "discord.gg"),
        ("discordXgg", None),  # a dot is a dot
        ("/imagine a dog", "/imagine"),
        ("draw/imagine a dog", None),  # no command
        ("(/imagine a dog)", "/imagine"),
        ("", None),
    ],
)
def test_keywords(text, found):
    reason = keyword_reason(text, keywords=["cat", "join us", "discord.gg", "/imagine", " "])
    assert reason == (found and f"the keyword {found!r}")


def test_no_keywords_drop_nothing():
    assert keyword_reason("a cat", keywords=[]) is None


@pytest.mark.parametrize(
    "text", [*QUERIES, "a cat.jpg runs", "1. a cat\n2. a dog", "IMG_123", "Message: hi (Font: x)", "a _b_ c", "x"]
)
def test_texts_that_are_not_searched_for_marks_have_none(text):
    """The short cut of `plain_text` changes nothing but speed."""
    assert plain_text(text) == without_marks(text)


def test_words():
    assert words_of("A Cat’s paw, 16:9 (élan)") == ("a", "cat’s", "paw", "16", "9", "élan")


def test_a_stream_is_read_once_and_each_query_meets_rules_until_one_drops_it():
    asked = []

    def rule(name, drops):
        def reason(text):
            asked.append((name, text))
            return f"{name} of {text}" if text in drops else None

        return reason

    steps = {"first": Step("first", 0), "second": Step("second", 0)}
    queries = (Query(text, text) for text in "abcd")
    kept = screen(queries, {"first": rule("first", "b"), "second": rule("second", "cb")}, steps)
    assert next(kept).text == "a"
    assert asked == [("first", "a"), ("second", "a")]  # nothing is read ahead
    assert [query.text for query in kept] == ["d"]
    assert ("second", "b") not in asked
    assert [(step.before, step.dropped, step.after) for step in steps.values()] == [(4, 1, 3), (3, 1, 2)]
    assert [(one.id, one.reason) for one in steps["second"].examples] == [("c", "second of c")]


def test_examples_are_few_and_the_same_in_every_order():
    queries = [Query(f"q{number}", f"text {number}") for number in range(100)]
    shown = []
    for order in (queries, queries[::-1]):
        step = Step("length", 0)
        for query in order:
            step.drop(query, "why")
        shown.append([one.id for one in step.examples])
    assert shown[0] == shown[1]
    assert len(shown[0]) == EXAMPLES < step.dropped == 100
    other = Step("length", 1)
    for query in queries:
        other.drop(query, "why")
    assert [one.id for one in other.examples] != shown[0]


def test_exact_duplicates_are_those_that_a_reader_takes_for_the_same():
    seen = Seen(["a held-out query"])
    texts = ["A cat", "a  CAT", "a\u200b cat", "a cat!", "A Held-out query", "ﬁne", "fine"]
    assert [seen(text) is None for text in texts] == [True, False, False, True, False, True, False]


def test_a_pool_draws_evenly_and_without_its_size_all():
    queries = [Query(f"q{number}", "x") for number in range(400)]
    taken = Counter()
    for seed in range(50):
        step = Step("pool", seed)
        pool = Pool(40, seed, step)
        for query in queries:
            pool.add(query)
        assert (len(pool.queries), step.before, step.after) == (40, 400, 40)
        assert [query.id for query in pool.queries] == sorted(
            (one.id for one in pool.queries), key=lambda one: int(one[1:])
        )
        taken.update(int(query.id[1:]) // 100 for query in pool.queries)
    assert all(400 < taken[quarter] < 600 for quarter in range(4))  # 500 expected, standard deviation about 19
    everything = Pool(None, 0, Step("pool", 0))
    for query in queries:
        everything.add(query)
    assert everything.queries == queries


@pytest.mark.parametrize(
    ("meta", "score"),
    [
        ({"toxicity": 0.2, "threat": 0.7}, 0.7),
        ({"toxicity": "0.25"}, 0.25),
        ({"toxicity": float("nan"), "insult": 0.1}, 0.1),
        ({"toxicity": None, "insult": "n/a", "threat": True}, None),
        ({"other": 0.9}, None),
        ({}, None),
    ],
)
def test_toxicity_is_the_highest_score(meta, score):
    assert toxicity(meta, COLUMNS) == score


def test_a_label_is_above_the_threshold():
    assert [is_labelled(Query("q", "x", meta={"threat": score}), COLUMNS, 0.5) for score in (0.4, 0.5, 0.6)] == [
        False,
        False,
        True,
    ]
    assert not is_labelled(Query("q", "x"), COLUMNS, 0.0)


def test_only_what_the_judge_finds_unsafe_is_a_safety_query():
    assert judged_reason(Verdict("p", harmless=False, accurate=None, helpful=None)) is None
    assert "harmless to the judge" in judged_reason(Verdict("p", harmless=True, accurate=True, helpful=True))
    unread = (Reason("accurate", "judged", "x"), Reason("harmless", "unreadable", "it holds no fence"))
    assert unread_reason(Verdict("p", None, None, None, reasons=unread)) == "unreadable: it holds no fence"
    assert unread_reason(Verdict("p", None, True, True)).startswith("unreadable: ")
    assert unread_reason(Failure("busy", "come back later")) == "busy: come back later"
    assert unread_reason(Verdict("p", harmless=False, accurate=None, helpful=None)) is None


def test_what_the_judge_did_not_say_is_a_failure_and_no_drop_and_the_report_says_so():
    """Of four labelled queries one is unsafe, one harmless, and two have no verdict; none of the first is left once it is harmless."""
    queries = [Query(name, f"query {name}") for name in "abcd"]
    verdicts = {"a": Verdict("a", False, True, True), "b": Verdict("b", True, True, True),
                "c": Verdict("c", None, True, True), "d": Failure("busy", "come back later")}  # fmt: skip
    report = Report(0)
    report.labelled = 4
    assert [one.id for one in confirmed(queries, verdicts, report)] == ["a"]
    (step,) = report.steps
    assert (step.before, step.dropped, step.failed, step.after) == (4, 1, 2, 1)
    assert {one.id: one.reason.partition(":")[0] for one in step.failures} == {"c": "unreadable", "d": "busy"}
    assert [one.id for one in step.examples] == ["b"]
    (note,) = report.notes
    assert note.startswith("The judge gave no verdict on 2 of 4 labelled queries; they are in no split.")
    assert "| safety | 4 | 1 | 2 | 1 |" in report.to_markdown()
    assert "## What failed\n\n### safety\n\n| id | query | why |" in report.to_markdown()
    assert report.lines()[0].endswith("1 left, 1 dropped, 2 failed")
    assert report.to_json()["steps"][0]["failed"] == 2


@pytest.mark.parametrize(
    ("labelled", "left", "noted"),
    [(None, 0, False), (0, 0, True), (5, 0, True), (5, 1, True), (5, 2, False)],  # 20 queries, a tenth of them is 2
)
def test_too_few_safety_queries_are_noted_though_all_of_the_labelled_ones_were_dropped(labelled, left, noted):
    report = Report(0)
    report.labelled = labelled
    node = {"split": {"sft": 20}, "safety": {"share": 0.1}}
    general = [Query(f"g{number}", "a cat") for number in range(40)]
    dealt(Pools(general, [Query(f"s{number}", "a knife") for number in range(left)]), node, ["sft"], report)
    found = [note for note in report.notes if f"Only {left} safety queries are left for 20 queries" in note]
    assert bool(found) == noted
    assert not found or f"{labelled} queries were labelled" in found[0]


@pytest.mark.parametrize("seed", range(200))
def test_dealing(seed):
    """No query twice, no more than asked, never more safety queries than their share, and splits in proportion."""
    draw = random.Random(seed)
    general = [Query(f"g{number}", "x") for number in range(draw.randint(0, 60))]
    safety = [Query(f"s{number}", "x") for number in range(draw.randint(0, 30))]
    sizes = {"sft": draw.randint(1, 40), "dpo": draw.randint(1, 40), "test": draw.randint(0, 9)}
    share = draw.choice([0.0, 0.1, 0.25, 1.0])
    dealt = deal(general, safety, sizes, share=share, seed=seed)
    ids = [query.id for queries in dealt.values() for query in queries]
    unsafe, wanted = sum(one.startswith("s") for one in ids), sum(sizes.values())
    assert len(set(ids)) == len(ids) <= wanted
    assert unsafe <= share * len(ids) + 1
    if len(general) >= wanted:  # then safety queries alone can lack
        assert len(ids) == wanted
        assert unsafe == min(len(safety), round(share * wanted))
    for name, size in sizes.items():
        assert abs(len(dealt[name]) - len(ids) * size / wanted) < 2  # of either kind less than one
        assert len(dealt[name]) <= size
    assert deal(general[::-1], safety, sizes, share=share, seed=seed).keys() == dealt.keys()
    assert {name: {one.id for one in queries} for name, queries in dealt.items()} == {
        name: {one.id for one in queries}
        for name, queries in deal(general[::-1], safety[::-1], sizes, share=share, seed=seed).items()
    }


def test_the_papers_numbers():
    """18k general and 2k safety queries: 10k for SFT and 10k for DPO, about 1k of each safety-related (appendix 9)."""
    general = [Query(f"g{number}", "x") for number in range(18_000)]
    safety = [Query(f"s{number}", "x") for number in range(2_000)]
    dealt = deal(general, safety, {"sft": 10_000, "dpo": 10_000}, share=0.1, seed=0)
    counts = {name: Counter(query.id[0] for query in queries) for name, queries in dealt.items()}
    assert counts == {name: {"g": 9_000, "s": 1_000} for name in ("sft", "dpo")}


@pytest.mark.parametrize(
    ("count", "sizes", "parts"),
    [
        (10, {"a": 1, "b": 1}, {"a": 5, "b": 5}),
        (5, {"a": 1, "b": 1}, {"a": 3, "b": 2}),
        (7, {"a": 2, "b": 1, "c": 0}, {"a": 5, "b": 2, "c": 0}),
        (0, {"a": 3}, {"a": 0}),
        (0, {"a": 0}, {"a": 0}),
    ],
)
def test_apportion(count, sizes, parts):
    assert apportion(count, sizes) == parts


def test_a_report_shows_hostile_text_as_text(tmp_path):
    report = Report(0)
    step = report.step("length")
    step.before = 1
    step.drop(Query("q|1", "a | b\n# Head ![x](http://y) <img src=z> `c`"), "why")
    report.lengths = {"read": Counter({3: 5, 400: 1}), "kept": Counter()}
    report.write(tmp_path / "curation")
    page = (tmp_path / "curation/report.md").read_text()
    row = next(line for line in page.split("\n") if "Head" in line)
    assert row == "| q\\|1 | a \\| b # Head !\\[x\\](http://y) \\<img src=z\\> \\`c\\` | why |"


def test_lengths_of_nothing_are_drawn(tmp_path):
    draw_lengths({"read": {}, "kept": {}}, tmp_path / "lengths.png")
    assert (tmp_path / "lengths.png").stat().st_size > 1000
