"""What the configs compose to, and that every value in them either changes a result's key or is known not to matter."""

import copy
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from tests.chat_models import gpt2_tokenizer, save_gpt2
from tests.reward.asking import TEXTS_FILE, model_folder
from vpo import pipeline, targets
from vpo.build import build
from vpo.checking.composed import NOT_IN_RUN_NAME
from vpo.checking.composing import resolve
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.stages.optimize import arguments_of
from vpo.training import modules
from vpo.training.recipe import SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
DATA = f"paths.data={ROOT / 'tests/data/english'}"  # of our own, in the places of the public data sets
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))


def composed(*overrides: str) -> dict:
    with initialize_config_module("vpo.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)


def keys_of(config: dict) -> set[str]:
    return {f"{entry.stage}/{entry.key}" for _, entry in pipeline.plan(config)}


def leaves(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif (isinstance(node, list) and node and all(not isinstance(one, dict) for one in node)) or not isinstance(
        node, list
    ):
        yield path, node


def changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, value[0]]
    return "optimizer" if value == "tiny" else f"{value}x"  # a template that exists


# Fields that cannot change a result, by their full paths; each is exempt in the stages that are given it.
EXEMPT = {
    "sft.checkpoint_every",
    "objective.checkpoint_every",
    "control.checkpoint_every",
    "objective.label",
    "trainer.memory_gb",
    "trainer.peak_tflops",
    "drafter.label",
    *(f"method.{name}.label" for name in ("original", "fewshot", "sft", "dpo", "sft_more", "sft_chosen")),
}
# They choose what is made, and from whose policy: another value is another story, or none.
CHOOSES = {"_target_", "policy"}


def with_value(base: dict, path: tuple[str, ...], value) -> dict:
    """The config with another value at a path."""
    config = copy.deepcopy(base)
    node = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return config


@pytest.mark.parametrize("sft", ["full", pytest.param("qlora", marks=pytest.mark.slow)])
def test_every_leaf_changes_a_key_or_is_exempt(sft):
    base = composed("method=[original,sketch_fewshot,sft,dpo,sft_more,sft_chosen]", f"sft={sft}")
    known = keys_of(base)
    idle, used = set(), set()
    for path, value in leaves(base):
        if path[0] in NOT_IN_RUN_NAME or path[-1] in CHOOSES:
            continue
        other = {"bits": None} if path[-1] == "adapter" else changed(value)
        (idle if keys_of(with_value(base, path, other)) == known else used).add(".".join(path))
    assert idle == EXEMPT & (idle | used), "these reach no key and are not exempt, or the other way round"


@pytest.mark.parametrize("role", ["generator", "judge", "reward", "backbone", "backbone.corpus", "drafter", "method.fewshot",
                                  "evaluator.motion", "sft", "objective", "trainer", "sampling", "feedback"])  # fmt: skip
@pytest.mark.parametrize("name", ["path", "workers", "progress", "cache_dir", "memory_gb", "label", "policy"])
def test_a_field_of_any_name_changes_a_key(role, name):
    """`generator.path` of two models must not lead to one key, and so for whatever a class of a user's own takes."""
    if f"{role}.{name}" in EXEMPT or (
        name in ("label", "policy") and role in ("drafter", "method.fewshot", "objective", "sft")
    ):
        pytest.skip("handled by the stage: it says which policy, and how its row is called")
    base = composed()
    one, two = (keys_of(with_value(base, (*role.split("."), name), value)) for value in ("this", "that"))
    assert one != two
    assert keys_of(base) not in (one, two)


def test_a_users_file_is_known_by_its_content(tmp_path):
    """Where it lies is in no key; another class's `path`, which no fingerprint stands for, is."""
    for name, text in (("a.txt", "dog"), ("b.txt", "dog"), ("c.txt", "cat")):
        (tmp_path / name).write_text("\n".join(f"{text} {number}" for number in range(20)))
    keys = [
        keys_of(composed("dataset=file", f"dataset.path={tmp_path / name}")) for name in ("a.txt", "b.txt", "c.txt")
    ]
    assert keys[0] == keys[1] != keys[2]


class Elsewhere:
    """A data set of a user's own that says nothing about its content."""

    def __init__(self, path: str, content: str) -> None:
        self.content = content

    def fingerprint(self) -> str:
        return self.content


@pytest.mark.parametrize("content", ["", "0123"])
def test_a_path_of_another_data_set_is_in_the_key(content, monkeypatch):
    monkeypatch.setattr(targets, "_trusted", ("tests.",))
    base = composed("method=[original]")
    node = {"_target_": "tests.checking.test_config.Elsewhere", "content": content}
    one, two = ({**base, "dataset": {**node, "path": path}} for path in "ab")
    assert keys_of(one) != keys_of(two)


def test_fields_that_cannot_matter_leave_the_keys_alone():
    base = composed()
    config = copy.deepcopy(base)
    config["paths"]["store"] = "elsewhere"
    config["sft"]["checkpoint_every"] = 1
    config["logger"] = {}
    config["executor"] = {"_target_": "vpo.executor.processes.ProcessExecutor", "workers": 2}
    assert set(keys_of(config)) == keys_of(base)


def test_what_online_training_shows_leaves_its_key_alone():
    base = composed("objective=grpo")
    for name in ("prompts", "prompts_every", "checkpoint_every", "label"):
        assert keys_of(with_value(base, ("objective", name), 7)) == keys_of(base), name
    assert keys_of(with_value(base, ("objective", "beta"), 7)) != keys_of(base)


def test_runs_of_a_feedback_sweep_share_what_they_have_in_common():
    stages = {name: keys_of(composed(f"feedback={name}")) for name in ("text", "video", "both")}
    for name in ("queries", "draft", "sft", "sample", "start"):
        assert len({key for keys in stages.values() for key in keys if key.startswith(f"{name}/")}) == 1, name
    assert len({key for keys in stages.values() for key in keys if key.startswith("dpo/")}) == 3


def test_feedback_decides_which_stages_there_are():
    def count(name: str, stage: str) -> int:
        return sum(key.startswith(f"{stage}/") for key in keys_of(composed(f"feedback={name}")))

    methods = 4
    tested = methods  # prompts of the test queries are rendered, scored and judged in any case
    assert (count("text", "render"), count("text", "score")) == (tested, tested)  # nothing is rendered for pairs
    # Of the drafts, of the test queries themselves, but not of the candidates.
    assert count("video", "critique") == tested + 2
    assert (count("both", "critique"), count("both", "score"), count("both", "render")) == (
        tested + 3, tested + 1, tested + 1,
    )  # fmt: skip


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_plans(experiment, tmp_path):
    with initialize_config_module("vpo.conf", version_base="1.3"):
        cfg = compose("config", overrides=[f"experiment={experiment}", DATA], return_hydra_config=False)
    missing = OmegaConf.missing_keys(cfg)
    # A recipe may ask for the user's own queries or optimizer; it says so by ???
    assert missing <= {"dataset.path", "backbone.model"}, missing
    if "backbone.model" in missing:
        cfg.backbone.model = "me/optimizer"
    if "dataset.path" in missing:
        (tmp_path / "queries.txt").write_text("a dog\na cat\n")
        cfg.dataset.path = str(tmp_path / "queries.txt")
    assert keys_of(resolve(cfg))


@pytest.mark.parametrize("experiment", ["smoke", "gain", "feedback", "objective"])
def test_experiments_take_a_users_queries_and_backbone(experiment, tmp_path):
    """What an experiment changes of the embedded choices must not reach into a user's own."""
    (tmp_path / "q.json").write_text(json.dumps([f"query {number}" for number in range(90)]))
    file = ["dataset=file", f"dataset.path={tmp_path / 'q.json'}"]
    config = composed(f"experiment={experiment}", *file, "backbone=hf", f"backbone.model={tmp_path}")
    assert set(config["backbone"]) == set(composed("backbone=hf", "backbone.model=x")["backbone"])
    check(config)
    assert build(config["backbone"]) is not None
    build(config["dataset"])
    if experiment == "smoke":
        assert [len(build(config["dataset"]).splits()[name]) for name in ("sft", "dpo", "test")] == [64, 12, 8]


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (path.parent.name, path.stem)
        for path in sorted((ROOT / "conf").glob("*/*.yaml"))
        if "_target_" in path.read_text()
    ],
)
def test_every_choice_builds(group, name, tmp_path):
    """Each yaml with a target is built; what needs a policy is given a stand-in for it, and a model of the hub a tiny one."""
    config = (
        composed(f"{group}={name}", DATA)
        if group not in ("method", "evaluator", "logger")
        else composed(f"{group}=[{name}]", DATA)
    )
    node = config[group]
    if group in ("method", "evaluator", "logger"):
        (node,) = node.values()
    shared = {}
    if "policy" in node:
        shared["policy"] = object()
    if group == "method":
        node = arguments_of(node)
    if name == "promptist":
        node |= {"model": str(save_gpt2(tmp_path, gpt2_tokenizer()))}
    if name == "videoscore2":
        node |= {"path": str(model_folder("qwen2_5_vl"))}
    if "texts_file" in (node.get("reward") or {}):
        node["reward"] |= {"texts_file": str(TEXTS_FILE)}
    if "texts_file" in node:
        node |= {"texts_file": str(TEXTS_FILE)}  # VisionReward's own are not part of the repository
    if name == "ray":
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    if "???" in str(node):
        pytest.skip("needs a value from the user")
    assert build(node, **shared) is not None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.k=0", "sampling.k=0 must be a whole number of at least 2"),
        ("sampling.temperature=0", "sampling.temperature=0 must be above 0"),
        ("trainer.devices=0", "trainer.devices=0 must be"),
        ("objective.beta=-1", "objective.beta=-1 must be above 0"),
        ("stop_after=lunch", "stop_after=lunch is no stage; choose one of queries, held_out, evolve, winners, start"),
        (
            "method=original stop_after=dpo",
            r"this run has no stage dpo, so stop_after=dpo never comes; choose one of queries, optimize, render",
        ),
        (
            "method=[original,sft] stop_after=pair",
            "choose one of queries, start, draft, critique, refine, sft, optimize, render, score, evaluate, or other",
        ),
        ("recompute=[lunch]", "recompute=lunch is no stage"),
        ("method=[]", "choose at least one method"),
        ("control.log_every=0", "control.log_every=0 must be"),
        ("sft.keep=first", "sft.keep=first must be last or best"),
        ("sft.optimizer.schedule=saw", "sft.optimizer.schedule=saw is unknown; choose one of constant, linear"),
        ("sft.optimizer.schedule=step", r"gamma, which must lie in \(0, 1\]; set \+sft.optimizer.gamma=0.85"),
        ("sft.optimizer.clip=-1", "sft.optimizer.clip=-1 must be a norm, or null"),
        ("objective.keep=best", "objective.keep=best chooses by the validation loss; hold rows out"),
    ],
)
def test_impossible_values_are_found_before_any_work(override, message):
    with pytest.raises(UserError, match=message):
        check(composed(*override.split()))


def test_a_later_rounds_policy_asks_for_more_rounds():
    with pytest.raises(UserError, match=r"no policy is called dpo_3 .*: set rounds=3, or leave the method out"):
        keys_of(composed("method=[sft,dpo_1]", "method.dpo_1.policy=dpo_3"))


@pytest.mark.parametrize(
    ("override", "read"), [("critique", ["critique"]), ("null", []), ("[sft,dpo]", ["sft", "dpo"])]
)
def test_one_stage_to_recompute_needs_no_brackets(override, read):
    with initialize_config_module("vpo.conf", version_base="1.3"):
        cfg = compose("config", overrides=[f"recompute={override}"])
    assert resolve(cfg)["recompute"] == read


@pytest.mark.parametrize(
    ("stage", "stages"),
    [
        ("optimize", ["queries", *["optimize"] * 2]),
        ("render", ["queries", *["optimize"] * 2, *["render"] * 2]),
        ("evaluate", ["queries", *["optimize"] * 2, *["render"] * 2, *["critique"] * 2, *["evaluate"] * 4]),
    ],
)
def test_a_run_stops_where_another_stage_would_begin(stage, stages):
    """All prompts are written before the first clip is made of one."""
    config = composed("method=[original,sketch_fewshot]", "evaluator=[alignment,scene]", f"stop_after={stage}")
    check(config)
    assert [one.name for one, _ in pipeline.plan(config)] == stages


def test_a_run_stops_after_the_first_critique():
    config = composed("stop_after=critique")
    check(config)
    assert [one.called for one, _ in pipeline.plan(config)] == ["queries", "start", "draft", "critique drafts"]


def test_what_no_evaluator_needs_is_not_made():
    def names(evaluator):
        return {one.name for one, _ in pipeline.plan(composed("method=original", f"evaluator={evaluator}"))}

    assert names("[alignment]") == {"queries", "optimize", "critique", "evaluate"}
    assert names("[flicker]") == {"queries", "optimize", "render", "evaluate"}
    assert names("[reward]") == {"queries", "optimize", "render", "score", "evaluate"}


def test_every_schedule_that_is_checked_can_be_trained():
    assert set(SCHEDULES) == set(modules.SCHEDULES)
    check(composed("sft.optimizer.schedule=step", "+sft.optimizer.gamma=0.85", "sft.optimizer.clip=null"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sft=lora", "sft.adapter.r=0"], "sft.adapter.r=0 must be a whole number of at least 1"),
        (["sft=lora", "sft.adapter.dropout=1"], r"sft.adapter.dropout=1 must lie in \[0, 1\)"),
        (["sft=qlora", "sft.adapter.bits=3"], "sft.adapter.bits=3 is not possible; choose 4, 8 or null"),
    ],
)
def test_impossible_adapters_are_found_before_any_work(overrides, message):
    with pytest.raises(UserError, match=message):
        check(composed(*overrides))


def test_preferences_are_trained_as_sft_is_unless_told_otherwise():
    def adapters(*overrides):
        config = composed(*overrides)
        assert config["control"]["adapter"] == config["objective"]["adapter"]
        return [
            node["adapter"] and (node["adapter"]["r"], node["adapter"]["bits"])
            for node in (config["sft"], config["objective"])
        ]

    assert adapters() == [None, None]
    assert adapters("sft=lora") == [(64, None), (64, None)]
    assert adapters("sft=qlora", "sft.adapter.r=8") == [(8, 4), (8, 4)]
    assert adapters("sft=lora", "objective.adapter=null") == [(64, None), None]
    assert adapters("sft=lora", "+adapter@objective.adapter=qlora", "objective.adapter.r=16") == [(64, None), (16, 4)]


def test_online_learning_trains_as_sft_does_unless_told_otherwise():
    def rank(*overrides):
        config = composed("objective=grpo", *overrides)
        check(config)
        return config["objective"]["adapter"] and config["objective"]["adapter"]["r"]

    assert rank() is None
    assert rank("sft=lora", "sft.adapter.r=8") == 8
    assert rank("sft=lora", "objective.adapter=null") is None
    assert rank("sft=qlora", "+adapter@objective.adapter=lora", "objective.adapter.r=16") == 16


def test_a_quantised_start_has_a_reference_of_its_own():
    """The reference must be read from the same weights; the SFT policy is shared."""
    keys = [keys_of(composed("sft=lora", f"objective.adapter={adapter}")) for adapter in (
        "null", "{r:4,alpha:4,dropout:0,target_modules:all-linear,bits:null}",
        "{r:4,alpha:4,dropout:0,target_modules:all-linear,bits:4}",
    )]  # fmt: skip
    whole, lora, quantised = ({key for key in one if key.startswith("reference/")} for one in keys)
    assert whole == lora != quantised
    assert len({key for one in keys for key in one if key.startswith("sft/")}) == 1


def test_quantised_weights_are_not_sharded():
    with pytest.raises(
        UserError, match=r"sft.adapter.bits=4 cannot be sharded by trainer.strategy=fsdp; use trainer=gpu"
    ):
        check(composed("sft=qlora", "trainer=fsdp"))
    check(composed("sft=lora", "trainer=fsdp"))


@pytest.mark.parametrize("override", ["rounds=2", "objective.keep=best"])
def test_online_learning_refuses_what_has_no_meaning_for_it(override):
    with pytest.raises(UserError):
        check(composed("objective=grpo", override))


def test_another_model_in_the_same_folder_is_another_start(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(9_000_000))
    (tmp_path / "config.json").write_text("{}")
    config = composed("backbone=hf", f"backbone.model={tmp_path}", "method=[released]")
    before = keys_of(config)
    (tmp_path / "model.safetensors").write_bytes(bytes(8_999_999) + b"x")
    assert keys_of(config) != before


def test_a_target_outside_the_allowed_packages_is_refused():
    with pytest.raises(UserError, match=r"_target_ os.system is not allowed; .* build.allow=\[os.\]"):
        build({"_target_": "os.system", "command": "true"})
    with pytest.raises(UserError, match=r"subprocess\.run is not allowed"):
        build({"_target_": "vpo.executor.local.LocalExecutor", "inner": [{"_target_": "subprocess.run"}]})
    with pytest.raises(
        UserError, match=r"vpo.storage.store.shutil.rmtree is not allowed; of vpo a config builds what is in"
    ):
        build({"_target_": "vpo.storage.store.shutil.rmtree", "path": "nothing"})
