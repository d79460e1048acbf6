"""What `curation` may say, what it changes of the keys, and how a data set chooses it."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from tests.checking.test_bad_values import checked
from tests.checking.test_config import DATA, changed, composed, leaves, with_value
from tests.curation.conftest import needs_packages
from vpo import pipeline
from vpo.checking.composing import own_configs
from vpo.checking.rules import check
from vpo.curation import language, near
from vpo.errors import UserError
from vpo.stages.curate import CuratedQueries, check_curation
from vpo.stages.queries import Queries
from vpo.storage.code_hash import code_of

VPO = ["dataset=vpo", DATA, "curation=vpo"]


def test_without_curation_nothing_of_a_run_changes():
    """No key in the config, and so no other name of the run; the stage of before, whose code has nothing of curation."""
    config = composed("curation=none")
    assert "curation" not in config
    stage, _ = pipeline.plan(config)[0]
    assert type(stage) is Queries
    assert stage.node().keys() == {"dataset", "content"}
    assert not [name for name in code_of("queries", stage.node(), stage.runs) if "curat" in name]


def test_curation_is_part_of_the_queries_key():
    config = composed(*VPO)
    stage, entry = pipeline.plan(config)[0]
    assert (type(stage), stage.name) == (CuratedQueries, "queries")
    covered = code_of("queries", stage.node(), stage.runs)
    assert {"vpo.stages.curate", "vpo.curation.rules", "vpo.curation.self_bleu", "vpo.judge.rules.judge"} <= set(
        covered
    )
    for path, value in leaves(config["curation"]):
        other = pipeline.plan(with_value(config, ("curation", *path), changed(value)))
        assert other[0][1].key != entry.key, path


def test_the_judge_is_part_of_the_key_where_it_is_asked():
    def key(safety, tolerance):
        config = composed(*VPO, f"curation.safety.{safety}", f"judge.missing_tolerance={tolerance}")
        return pipeline.plan(config)[0][1].key

    assert key("judged=true", 0.1) != key("judged=true", 0.2)
    assert key("judged=false", 0.1) == key("judged=false", 0.2) != key("judged=true", 0.1)
    assert key("share=0", 0.1) == key("share=0", 0.2)


def test_a_data_set_may_choose_a_curation_and_the_command_line_another(tmp_path, monkeypatch):
    """A line in the data set's file; `override` needs the group to stand before `dataset` in the primary config."""
    (tmp_path / "conf/dataset").mkdir(parents=True)
    (tmp_path / "conf/dataset/mine.yaml").write_text(
        "defaults: [vpo, override /curation@_global_.curation: vpo, _self_]\n_target_: vpo.dataset.collection.CollectionDataset\n"
    )
    monkeypatch.chdir(tmp_path)

    def curation(*overrides):
        with initialize_config_module("vpo.conf", version_base="1.3"):
            config = compose("config", overrides=own_configs(["dataset=mine", DATA, *overrides]))
        return OmegaConf.to_container(config).get("curation")

    assert curation()["near"]["least"] == 0.7
    assert curation("curation.near=null")["near"] is None
    assert curation("curation=none") is None


@needs_packages
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("length.least_words=-1", r"curation.length.least_words=-1 must be a whole number of at least 0"),
        ("length.least_words=200", r"curation.length.least_words=200 is above curation.length.most_words=157"),
        ("length.most_words=many", r"curation.length.most_words=many must be a whole number, such as 157"),
        ("length.most_word=3", r"there is no key curation.length.most_word; did you mean curation.length.most_words\?"),
        ("length=3", r"curation.length=3 must be keys and values"),
        ("characters.most_special=5", r"curation.characters.most_special=5 must be a share between 0 and 1"),
        ("keywords=cat", r"curation.keywords=cat must be a list"),
        ("keywords=[cat,' ']", r"curation.keywords holds ' ', which every query has; take it out"),
        ("language.allowed=[]", r"curation.language.allowed=\[\] drops everything; name a language, or set"),
        ("language.least_probability=0", r"curation.language.least_probability=0 must be above 0 and at most 1"),
        ("pool.general=0", r"curation.pool.general=0 must be a whole number of at least 1"),
        ("near.least=0", r"curation.near.least=0 must be above 0 and at most 1"),
        ("near.permutations=2", r"curation.near.permutations=2 must be a whole number of at least 16"),
        ("diversity.most=1.5", r"curation.diversity.most=1.5 must be a share between 0 and 1"),
        ("diversity.order=0", r"curation.diversity.order=0 must be a whole number of at least 1"),
        ("safety.threshold=50", r"curation.safety.threshold=50 must be a share between 0 and 1"),
        ("safety.share=2", r"curation.safety.share=2 must be a share between 0 and 1"),
        ("safety.columns=toxicity", r"curation.safety.columns=toxicity must be a list"),
        ("safety=null", r"curation.safety=null must be keys and values"),
        ("split.sft=0", r"curation.split.sft=0 leaves nothing to train on; set it to at least 1"),
        ("split.sft=0.5", r"curation.split.sft=0.5 must be a whole number"),
        ("seed=-1", r"curation.seed=-1 must be a whole number from 0"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line(override, message):
    sign = "+" if "most_word=" in override else ""
    with pytest.raises(UserError, match=message) as raised:
        checked(*VPO, f"{sign}curation.{override}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("rule", "module"), [("language", language), ("near", near)])
def test_a_missing_package_is_one_line_before_any_work(rule, module, monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    others = [f"curation.{one}=null" for one in ("language", "near") if one != rule]
    with pytest.raises(
        UserError, match=rf"curation.{rule} needs no_such_package: pip install 'vpo\[curation\]', or set"
    ):
        checked(*VPO, *others)
    checked(*VPO, "curation.language=null", "curation.near=null")


@needs_packages
def test_every_rule_can_be_left_out():
    names = ("length", "characters", "keywords", "language", "near", "diversity")
    checked(*VPO, *(f"curation.{name}=null" for name in names))


@needs_packages
def test_the_curation_says_how_many_queries_of_a_streamed_data_set_are_dealt():
    """Another number in `dataset` would be ignored, so that it is refused; without a curation it is the one that counts."""
    vidprom = ["dataset=vidprom", "dataset.path=rows.csv"]
    config = composed(*vidprom, "curation.split.sft=30")
    assert (config["dataset"]["sft"], config["dataset"]["dpo"], config["dataset"]["test"]) == (30, 10_000, 500)
    check_curation(config)
    with pytest.raises(
        UserError, match=r"dataset.dpo=7 is not what is dealt, .*; set curation.split.dpo=7 in its place"
    ) as raised:
        check_curation(composed(*vidprom, "dataset.dpo=7"))
    assert "\n" not in str(raised.value)
    alone = composed(*vidprom, "curation=none", "dataset.dpo=7")
    assert (alone["dataset"]["sft"], alone["dataset"]["dpo"]) == (10_000, 7)
    check_curation(alone)


def test_leaves_are_the_schemas_own():
    """Nothing of the file is without a bound of its own kind: another kind of value is refused everywhere."""
    config = composed(*VPO)
    for path, _ in leaves(config["curation"]):
        bad = with_value(config, ("curation", *path), {"a": 1})
        with pytest.raises(UserError, match=rf"curation\.{path[0]}"):
            check(bad)
