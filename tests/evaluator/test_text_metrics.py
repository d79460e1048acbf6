"""Metrics that are counted from the prompts' texts: derived by hand, and of a set that is larger than a batch."""

import itertools
import json
import math

import pytest

from tests.checking.test_config import composed
from tests.conftest import run_vpo
from vpo.build import card_of
from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.text import TextMetrics, copies, load_tokenizer
from vpo.records import Failure, Prompt, Query, Sample
from vpo.results.aggregates import aggregated
from vpo.stages.evaluate import measure
from vpo.templates import read_template

ARGUMENTS = {"templates": ["optimizer"], "tokens": 226, "tokenizer": None, "subfolder": None, "tokens_per_word": 1.3}


def sample(text, query="a fox", number=0, **fields):
    return Sample(Query(f"q{number}", query), Prompt(f"p{number}", f"q{number}", query, text, "m", **fields))


def rows(*texts, **arguments):
    return TextMetrics(**ARGUMENTS | arguments).measure([sample(text, number=n) for n, text in enumerate(texts)])


def of_set(measured, name):
    """The number of the set, as results.json has it."""
    card = TextMetrics.card(**ARGUMENTS).metric_of(name)
    found = [row[name] for row in measured if name in row]
    parts = [(one.value, one.weight) if isinstance(one, Weighted) else (one, 1.0) for one in found]
    return aggregated(card.aggregate, *zip(*parts, strict=True))["mean"]


def test_diversity_is_the_sets():
    measured = rows("A b, a.", "b c")  # a b a | b c: 3 different words of 5; ab, ba | bc
    assert of_set(measured, "distinct_1") == pytest.approx(3 / 5)
    assert of_set(measured, "distinct_2") == pytest.approx(3 / 3)
    assert of_set(rows("a b c", "a b c"), "distinct_2") == pytest.approx(2 / 4)
    assert "distinct_2" not in rows("word", "two words")[0]
    # {ab, bc}, {ab, bd}, {xy}: the first two share one of two pairs, the third none
    assert of_set(rows("a b c", "a b d", "x y"), "self_similarity") == pytest.approx(1 / 6)
    assert "self_similarity" not in rows("alone")[0]


def test_tokens_and_what_the_text_encoder_cuts():
    short, long = rows("word " * 10, "word " * 200)
    assert (short["tokens"], short["cut_prompts"], short["cut_tokens"].value) == (14, 0, 0)  # 10 * 1.3, and the end
    assert long["tokens"] == 261  # 200 * 1.3, and the end
    assert (long["cut_prompts"], long["cut_tokens"].weight) == (1, 261)
    assert long["cut_tokens"].value == pytest.approx((261 - 226) / 261)
    assert of_set([short, long], "cut_tokens") == pytest.approx(35 / 275)
    assert rows("")[0]["tokens"] == 1


def test_the_encoders_own_tokenizer_counts_where_it_is_at_hand(start):
    from transformers import AutoTokenizer

    text = "a red fox runs through the snow"
    exact = ARGUMENTS | {"tokenizer": str(start)}
    (row,) = TextMetrics(**exact).measure([sample(text)])
    assert row["tokens"] == len(AutoTokenizer.from_pretrained(start)(text)["input_ids"])
    node = {"_target_": "vpo.evaluator.text.TextMetrics"}
    versions = [card_of(node | one).version for one in (exact, ARGUMENTS, ARGUMENTS | {"templates": ["tiny"]})]
    assert versions[0].startswith("2-tokenizer-")
    assert versions[1].startswith("2-words-")  # other numbers, so another key
    assert len(set(versions)) == 3


def test_a_tokenizer_that_is_not_at_hand_is_not_downloaded():
    assert load_tokenizer("THUDM/CogVideoX-2b", "no_such_folder") is None
    assert load_tokenizer(None, None) is None


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^evaluator.text.tokenizer=.* cannot be loaded \(.*set it to null"):
        TextMetrics(**ARGUMENTS | {"tokenizer": str(tmp_path)})
    with pytest.raises(UserError, match="no such folder, and no hub id"):
        TextMetrics(**ARGUMENTS | {"tokenizer": "/no/such/folder"})
    with pytest.raises(UserError, match="template 'none' does not exist"):
        TextMetrics(**ARGUMENTS | {"templates": ["none"]})


@pytest.mark.parametrize(
    ("text", "query", "copied"),
    [
        ("A red fox runs through deep snow while the camera follows it slowly.", "a fox", False),
        ("Your goal is to expand the user's short query into a fox.", "a fox", True),
        ("YOUR GOAL IS TO EXPAND THE USER'S SHORT QUERY!", "a fox", True),
        (
            "Here your goal is to expand the user's fox.",
            "a fox",
            False,
        ),  # seven words of it: goal ... user's, and 'your'
        ("A fox runs.\n\nVideo Prompt: a fox runs.", "a fox", True),
        ("User Query:a fox", "a fox", True),
        ("A sign reads Video Prompt: in red.", "a sign that reads Video Prompt: in red", False),
        (
            "A poster says: your goal is to expand the user's short query into art.",
            "a poster 'your goal is to expand the user's short query into art'",
            False,
        ),
        ("", "a fox", False),
    ],
)
def test_words_of_the_template_are_copied(text, query, copied):
    assert copies(text, read_template("optimizer"), query) is copied


def test_by_default_copies_of_the_released_template_count_as_those_of_the_runs_own():
    """Ten words of `optimizer`, which are not in the run's own template `tiny`; a name that stands twice counts once."""
    templates = composed("evaluator=[text]")["evaluator"]["text"]["templates"]
    assert templates == ["tiny", "optimizer", "fewshot"]
    copied = "A fox. Keep the scene feasible and well-suited for a brief duration."
    assert [rows(copied, templates=one)[0]["template_copied"] for one in (templates, ["tiny"])] == [1.0, 0.0]
    once, twice = (TextMetrics.card(**ARGUMENTS | {"templates": one}) for one in (["tiny"], ["tiny", "tiny"]))
    assert once == twice


def test_what_is_handed_on_and_what_was_cut():
    measured = TextMetrics(**ARGUMENTS).measure(
        [
            sample("A  FOX"),
            sample("a fox runs", number=1, cut=True),
            Sample(Query("q2", "x"), Failure("timeout", "away")),
        ]
    )
    assert [row.get("unchanged") for row in measured] == [1.0, 0.0, None]
    assert [row.get("unfinished") for row in measured] == [0.0, 1.0, None]
    assert measured[2] == {}


def test_an_error_on_all_prompts_ends_the_stage():
    """Halving the batch to find the prompt at fault would give numbers of another set."""

    class Broken:
        def measure(self, samples):
            raise ValueError("no such word")

    card = TextMetrics.card(**ARGUMENTS)
    with pytest.raises(
        UserError, match=r"^evaluator text: it measures all prompts together .*ValueError: no such word"
    ):
        measure(Broken(), [sample("a")], card=card, clips=None)


@pytest.mark.slow
def test_in_a_run_the_set_is_all_test_queries(tmp_path):
    """75 queries, more than a batch of 32; counted once more by plain loops."""
    chosen = ["method=[original,sketch_fewshot]", "evaluator=[text]", "dataset.test=75"]
    done = run_vpo("run", "experiment=smoke", "stop_after=null", "objective=none", *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = {path.parent for path in (tmp_path / "runs").rglob("results.json")}
    methods = json.loads((folder / "results.json").read_text(encoding="utf-8"))["methods"]
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert methods["original"]["unchanged"]["mean"] == 1
    for name, metrics in methods.items():
        written = [one["prompt"].lower() for one in items if one["method"] == name]
        plain = ["".join(sign if sign.isalnum() or sign in "-'" else " " for sign in text) for text in written]
        texts = [[word.strip("-") for word in text.split()] for text in plain]  # flags: -ar 16:9
        assert len(texts) == 75
        pairs = [pair for text in texts for pair in itertools.pairwise(text)]
        assert metrics["distinct_2"]["mean"] == pytest.approx(len(set(pairs)) / len(pairs))
        assert metrics["tokens"]["mean"] == pytest.approx(
            sum(math.ceil(len(one["prompt"].split()) * 1.3) + 1 for one in items if one["method"] == name) / 75
        )
