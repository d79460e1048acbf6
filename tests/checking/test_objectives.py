"""The choices of `objective`: what they share, what they refuse, what their keys depend on."""

import pytest

from tests.checking.test_config import composed, keys_of
from vpo.checking.rules import check
from vpo.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.strategy=fsdp"], "objective=grpo runs on trainer=cpu, gpu or ddp, not with trainer.strategy=fsdp"),
        (["objective.generations=1"], "objective.generations=1 must be a whole number of at least 2"),
        (["objective.global_batch_size=30"], "global_batch_size=30 must be a multiple of objective.generations=4"),
        (
            ["objective.optimizer.schedule=step", "+objective.optimizer.gamma=0.5"],
            "objective=grpo has no schedule=step; choose constant",
        ),
        (["objective.beta=-1"], "objective.beta=-1 must be at least 0"),
        (["objective.prompts_every=0"], "objective.prompts_every=0 must be a whole number of at least 1"),
        (["sft=qlora"], r"not beside objective.adapter.bits=4; choose \+adapter@objective.adapter=lora"),
        (["stop_after=pair"], "this run has no stage pair, so stop_after=pair never comes"),
        (["objective.policy=ppo"], "objective.policy=ppo is made by nothing here; choose one of dpo, grpo, None"),
    ],
)
def test_what_grpo_cannot_do_is_one_line_before_any_work(overrides, message):
    with pytest.raises(UserError, match=message):
        check(composed("objective=grpo", *overrides))


def test_every_value_of_grpo_changes_its_key_or_is_listed():
    base = composed("objective=grpo")
    known = keys_of(base)
    for name, other in {
        "loss": "grpo",
        "epsilon": 0.3,
        "top_p": 0.9,
        "max_length": 99,
        "gradient_checkpointing": True,
    }.items():
        assert keys_of(base | {"objective": base["objective"] | {name: other}}) != known, name
    weights = base["objective"]["rewards"] | {"text": 2.0}
    assert keys_of(base | {"objective": base["objective"] | {"rewards": weights}}) != known
    for name in ("checkpoint_every", "prompts", "prompts_every"):
        assert keys_of(base | {"objective": base["objective"] | {name: 3}}) == known, name
    assert not {key.partition("/")[0] for key in known} & {"sample", "pair", "reference", "dpo"}
    kinds = [keys_of(composed("objective=grpo", f"feedback={name}")) for name in ("text", "video", "both")]
    assert len({key for keys in kinds for key in keys if key.startswith("grpo/")}) == 3


@pytest.mark.parametrize(("name", "loss"), [("ipo", "ipo"), ("hinge", "hinge"), ("robust", "robust")])
def test_the_other_losses_share_pairs_and_reference_with_dpo(name, loss):
    config = composed(f"objective={name}")
    assert config["objective"]["loss"] == loss
    other, dpo = keys_of(config), keys_of(composed())
    apart = {key.partition("/")[0] for key in other ^ dpo}
    assert apart == {"dpo", "optimize", "render", "score", "critique", "evaluate"}


def test_objective_none_ends_with_sft_and_says_what_is_missing():
    config = composed("objective=none")
    assert list(config["method"]) == ["original", "fewshot", "sft"]
    stages = {key.partition("/")[0] for key in keys_of(config)}
    assert not stages & {"sample", "pair", "reference", "dpo", "grpo"}
    with pytest.raises(UserError, match=r"no policy is called dpo with objective.policy=None; known are start, sft"):
        keys_of(composed("objective=none", "method=[sft,dpo]"))


def test_an_experiment_with_values_for_a_training_goes_with_none():
    check(composed("experiment=smoke", "objective=none"))
