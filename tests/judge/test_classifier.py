"""The second opinion on harm: a real, tiny classifier with random weights, saved as any released one is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from tests.judge.conftest import GOOD, ROOT, kinds, verdict_of
from tests.judge.conftest import prompt_of as prompt
from vpo.errors import UserError
from vpo.judge.classifier import HarmClassifier
from vpo.judge.rules.judge import RulesJudge

QUERY = "a red car driving at sunset"
WORDS = {"[UNK]": 0, "a": 1, "red": 2, "car": 3, "drives": 4}


def tokenizer_with(length: int) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", model_max_length=length)


def config(**more: object) -> BertConfig:
    torch.manual_seed(0)
    return BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=64, id2label={0: "fine", 1: "toxic", 2: "obscene"}, label2id={"fine": 0, "toxic": 1, "obscene": 2},
        **more,
    )  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path, bias=(0.0, 0.0, 0.0))
    return tmp_path


def save(folder: Path, bias: tuple[float, float, float], **more: object) -> None:
    """The head's weights are near zero, so its bias decides: probabilities are known by hand."""
    model = BertForSequenceClassification(config(**more))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    tokenizer_with(32).save_pretrained(folder)


def rules(classifier: dict | None) -> RulesJudge:
    import yaml

    values = yaml.safe_load((ROOT / "conf/judge/rules.yaml").read_text())
    assert values.pop("_target_")
    assert values["classifier"] is None
    return RulesJudge(**values | {"classifier": classifier})


def test_unsafe_is_what_either_finds_unsafe(tmp_path: Path) -> None:
    save(tmp_path, bias=(0.0, 2.0, 0.0))  # softmax: e^2 / (e^2 + 2) = 0.787 of toxic, 0.107 of obscene
    judge = rules({"model": str(tmp_path), "labels": ["toxic"], "threshold": 0.7})
    assert kinds(verdict_of(judge, QUERY, GOOD), "harmless") == [("classifier", "toxic 0.79")]
    assert kinds(verdict_of(rules(None), QUERY, GOOD), "harmless") == []
    mild = rules({"model": str(tmp_path), "labels": ["obscene"], "threshold": 0.7})
    assert verdict_of(mild, QUERY, GOOD).harmless is True
    assert verdict_of(mild, QUERY, f"{GOOD} A man kills a stranger.").harmless is False


@pytest.mark.parametrize(
    ("labels", "problem", "probability"),
    [
        (["toxic", "obscene"], "single_label_classification", 2 / 3),  # of three equal ones
        (["toxic", "obscene"], "multi_label_classification", 0.5),  # each by itself
        (["toxic"], "single_label_classification", 1 / 3),
    ],
)
def test_labels_of_one_choice_add_up_and_independent_ones_do_not(
    tmp_path: Path, labels: list[str], problem: str, probability: float
) -> None:
    save(tmp_path, bias=(0.0, 0.0, 0.0), problem_type=problem)
    just = HarmClassifier(str(tmp_path), labels, threshold=probability - 1e-4).unsafe("a red car")
    assert just is not None
    assert just.probability == pytest.approx(probability, abs=1e-6)
    assert HarmClassifier(str(tmp_path), labels, threshold=probability + 1e-4).unsafe("a red car") is None


def test_the_worst_part_of_a_long_text_counts(tmp_path: Path) -> None:
    """A text of more tokens than the model reads is read in parts; no part of it goes unread."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(config(initializer_range=1.0))
    model.save_pretrained(tmp_path)
    tokenizer_with(4).save_pretrained(tmp_path)

    def alone(ids: list[int]) -> float:
        with torch.inference_mode():
            return float(model.eval()(torch.tensor([ids])).logits.softmax(-1)[0, 1])

    parts = alone([1, 1, 1, 1]), alone([3, 3, 3, 3]), alone([4, 4])
    found = HarmClassifier(str(tmp_path), ["toxic"], threshold=1e-6).unsafe("a a a a car car car car drives drives")
    assert found is not None
    assert found.probability == pytest.approx(max(parts), abs=1e-6)
    assert max(parts) - min(parts) > 0.01


def test_refine_drops_the_sentence_that_it_finds_unsafe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    BertForSequenceClassification(config(initializer_range=1.0)).save_pretrained(tmp_path)
    tokenizer_with(64).save_pretrained(tmp_path)
    extra = "A red car drives a car."
    node = {"model": str(tmp_path), "labels": ["fine"], "threshold": 0.5}  # what its random weights call so
    ask = HarmClassifier(**node)
    found = [ask.unsafe(text) is not None for text in (extra, f"{GOOD} {extra}", GOOD, *GOOD.split(". "))]
    assert found == [True, True, False, False, False]
    judge = rules(node)
    one = prompt(QUERY, f"{GOOD} {extra}")
    assert judge.refine([one], judge.critique([one])) == [GOOD]


def test_refine_gives_up_where_every_sentence_is_unsafe(tmp_path: Path) -> None:
    save(tmp_path, bias=(0.0, 9.0, 0.0))
    judge = rules({"model": str(tmp_path), "labels": ["toxic"]})
    one = prompt(QUERY, GOOD)
    assert judge.refine([one], judge.critique([one])) == [None]


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"labels": ["toxic"]}, "judge.classifier needs model"),
        ({"model": "x"}, "judge.classifier needs labels"),
        ({"model": "x", "labels": "toxic"}, "judge.classifier.labels must list"),
        ({"model": "x", "labels": ["toxic"], "treshold": 0.5}, "judge.classifier has no treshold; its keys are model"),
        ({"model": "x", "labels": ["toxic"], "threshold": 0.0}, "threshold=0.0 must be above 0"),
        ({"model": "x", "labels": ["toxic"], "device": "tpu"}, "device=tpu must be cpu, gpu or cuda"),
    ],
)
def test_a_wrong_node_is_refused_when_the_judge_is_built(node: dict, line: str) -> None:
    with pytest.raises(UserError, match=line.replace(".", r"\.")):
        rules(node)


def test_unknown_labels_and_a_model_without_a_head_are_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(UserError, match="has no label insult; its labels are fine, toxic, obscene"):
        HarmClassifier(str(saved), ["insult"]).unsafe("a")
    bare = tmp_path_factory.mktemp("bare")
    BertModel(config()).save_pretrained(bare)
    tokenizer_with(32).save_pretrained(bare)
    with pytest.raises(
        UserError, match=r"its files have no classifier\.bias; give a model that was trained to classify"
    ):
        HarmClassifier(str(bare), ["toxic"]).unsafe("a")
    with pytest.raises(UserError, match=r"judge\.classifier\.model=/nowhere/x"):
        HarmClassifier("/nowhere/x", ["toxic"]).unsafe("a")


def test_closing_lets_go_and_it_can_read_again(saved: Path) -> None:
    judge = rules({"model": str(saved), "labels": ["toxic"], "threshold": 0.1})
    before = verdict_of(judge, QUERY, GOOD)
    judge.close()
    assert judge.classifier is not None
    assert judge.classifier._loaded is None
    assert verdict_of(judge, QUERY, GOOD) == before


@pytest.mark.slow
def test_without_a_classifier_nothing_is_imported() -> None:
    code = (
        "import sys, yaml; from vpo.judge.rules.judge import RulesJudge; from vpo.records import Prompt;"
        "values = yaml.safe_load(open('conf/judge/rules.yaml')); values.pop('_target_');"
        "RulesJudge(**values).critique([Prompt('p', 'q', 'a cat', 'A cat.', 'test')]);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_each_of_its_keys_changes_the_keys_of_verdicts_and_refinements() -> None:
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from vpo import pipeline
    from vpo.checking.rules import check

    def keys(*overrides: str) -> dict[str, str]:
        with initialize_config_module("vpo.conf", version_base="1.3"):
            made = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
        check(made)
        return {entry.stage: entry.key for _, entry in pipeline.plan(made)}

    node = "model: a/b, labels: [toxic], revision: null, threshold: 0.5, device: cpu"
    others = (
        ("a/b", "a/c"), ("toxic", "obscene"), ("revision: null", "revision: abc"), ("0.5", "0.6"), ("cpu", "gpu"),
    )  # fmt: skip
    nodes = [node, *(node.replace(one, other) for one, other in others)]
    made = [keys(), *(keys(f"judge.classifier={{{one}}}") for one in nodes)]
    for stage in ("critique", "refine"):
        assert len({key[stage] for key in made}) == len(made)
