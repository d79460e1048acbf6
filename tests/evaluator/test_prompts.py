"""Prompts without a clip: their form by hand, meaning by the true model, diversity by plain definitions."""

import json
import math

import numpy as np
import pytest
from transformers import BertModel

from tests.conftest import run_vpo
from tests.encoders import WORDS, save_encoder
from vpo.assets.folder import PREFIX, find_asset
from vpo.errors import UserError
from vpo.evaluator.prompts import Prompts
from vpo.judge.rules.judge import RulesJudge
from vpo.language.embedding import SentenceEncoder
from vpo.language.self_bleu import self_bleu_of
from vpo.records import Failure, Prompt, Query, Sample
from vpo.results.aggregates import aggregated

JUDGE = {
    "facets": ["motion"], "min_words": 25, "max_words": 130, "missing_tolerance": 0.25, "max_clause_words": 40, "rounds": 3,
    "classifier": None,
}  # fmt: skip
TEXT = {"templates": ["optimizer"], "tokens": 226, "tokenizer": None, "subfolder": None, "tokens_per_word": 1.3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return SentenceEncoder(str(save_encoder(tmp_path_factory.mktemp("encoder"))), None, 32, "cpu", 4, "test")


@pytest.fixture(scope="module")
def prompts(encoder):
    return Prompts(**TEXT, encoder=encoder, judge=RulesJudge(**JUDGE))


def sample(text, query="a fox", number=0):
    return Sample(Query(f"q{number}", query), Prompt(f"p{number}", f"q{number}", query, text, "m"))


def rows(prompts, *texts, query="a fox"):
    return prompts.measure([sample(text, query, number) for number, text in enumerate(texts)])


def mean_of(measured, name):
    return sum(row[name] for row in measured) / len(measured)


def test_the_form_of_prompts(prompts):
    plain, announced, fenced, refused = rows(
        prompts,
        "A red fox runs through the snow.",
        "Here is the rewritten prompt: A red fox runs through the deep snow at dawn.",
        "```\nA red fox runs through the deep snow.\n```",
        "I'm sorry, but I can't help with that request.",
    )
    assert [row["lead_in"] for row in (plain, announced, fenced)] == [0, 1, 0]
    assert [row["wrapped"] for row in (plain, announced, fenced)] == [0, 0, 1]
    assert [row["refused"] for row in (plain, announced, refused)] == [0, 0, 1]
    assert plain["length"] == 7
    assert plain["query_kept"] == 1  # "a" and "fox"
    assert refused["query_kept"] == 0
    (half,) = rows(prompts, "A fox.", query="A fox, a dog and snow")  # a, fox of a, fox, dog, and, snow
    assert half["query_kept"] == pytest.approx(2 / 5)


def embedding(encoder_folder, text):
    """One text alone, by plain sums."""
    import torch

    ids = [2, *(4 + WORDS.index(word) for word in text.split()), 3]
    with torch.no_grad():
        states = (
            BertModel.from_pretrained(encoder_folder).eval()(torch.tensor([ids])).last_hidden_state[0].double().numpy()
        )
    mean = states.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_distance_and_vendi_by_the_model(tmp_path):
    folder = save_encoder(tmp_path / "encoder")
    own = Prompts(**TEXT, encoder=SentenceEncoder(str(folder), None, 32, "cpu", 2, "test"), judge=RulesJudge(**JUDGE))
    texts = ["a red fox runs", "the dog on the beach", "snow", "a fox", "a fox runs in the snow"]
    found = rows(own, *texts)
    vectors = np.array([embedding(folder, text) for text in texts])
    due = [1 - vector @ embedding(folder, "a fox") for vector in vectors]
    assert [row["distance"] for row in found] == pytest.approx(due, abs=1e-5)
    values = np.linalg.eigvalsh(vectors @ vectors.T / len(texts))
    vendi = math.exp(-sum(one * math.log(one) for one in values if one > 1e-12))
    assert mean_of(found, "vendi") == pytest.approx(vendi, rel=1e-5)
    assert mean_of(found, "self_bleu") == pytest.approx(np.mean(self_bleu_of([text.split() for text in texts], 4)))


def test_alike_and_alone(prompts):
    alike = rows(prompts, *["a red fox runs in the snow"] * 4)
    assert mean_of(alike, "vendi") == pytest.approx(1, abs=1e-6)
    assert mean_of(alike, "self_bleu") == pytest.approx(1)
    (alone,) = rows(prompts, "a red fox")
    assert not alone.keys() & {"vendi", "self_bleu", "self_similarity"}
    assert prompts.measure([]) == []


def test_a_failed_prompt_is_left_out_and_keeps_its_place(prompts):
    away = Sample(Query("q1", "x"), Failure("timeout", "away"))
    measured = prompts.measure([sample("a fox runs"), away, sample("a dog", number=2)])
    both = prompts.measure([sample("a fox runs"), sample("a dog", number=2)])
    assert measured[1] == {}
    assert [measured[0], measured[2]] == both


def test_all_that_is_measured_is_listed_and_has_an_interval(encoder):
    node = {"_target_": "vpo.language.embedding.SentenceEncoder", "model": "m", "max_tokens": 32}
    card = Prompts.card(**TEXT, encoder=node, judge={"_target_": "vpo.judge.rules.judge.RulesJudge", **JUDGE})
    own = Prompts(**TEXT, encoder=encoder, judge=RulesJudge(**JUDGE))
    measured = rows(own, *(f"a {a} {b} in the snow" for a in WORDS[1:6] for b in WORDS[1:6]))
    assert {name for row in measured for name in row} == {metric.name for metric in card.metrics}
    for metric in card.metrics:
        values = [row[metric.name] for row in measured]
        pairs = [(getattr(one, "value", one), getattr(one, "weight", 1.0)) for one in values]
        found = aggregated(metric.aggregate, *zip(*pairs, strict=True), share=metric.is_share)
        assert found["low"] <= found["mean"] <= found["high"], metric.name
    other = Prompts.card(**TEXT, encoder=node | {"model": "another"}, judge=JUDGE | {"_target_": "x.RulesJudge"})
    assert other.version != card.version


@pytest.mark.slow
def test_in_a_run_by_the_real_encoder(tmp_path):
    try:
        find_asset(f"{PREFIX}all-minilm-l6-v2", None, "test")
    except UserError as error:
        pytest.skip(str(error))
    chosen = ["method=[original,sketch_fewshot]", "evaluator=[prompts]", "dataset.test=40"]
    done = run_vpo("run", "experiment=smoke", "stop_after=null", "objective=none", *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = {path.parent for path in (tmp_path / "runs").rglob("results.json")}
    methods = json.loads((folder / "results.json").read_text(encoding="utf-8"))["methods"]
    assert methods["original"]["distance"]["mean"] == pytest.approx(0, abs=1e-6)
    assert methods["fewshot"]["distance"]["mean"] > 0.05
    for metrics in methods.values():
        assert 1 < metrics["vendi"]["mean"] < 40
        for name, result in metrics.items():
            assert result["ci95"] is not None, name
            assert result["low"] <= result["mean"] <= result["high"], name
