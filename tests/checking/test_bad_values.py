"""Overrides of the wrong kind or out of their range, refused in one line before any work; and what must pass."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from vpo.backbone.tiny import TinyBackbone
from vpo.checking.hints import check_types
from vpo.checking.rules import check
from vpo.errors import UserError


def checked(*overrides: str) -> None:
    """What `vpo.checking.composing.resolve` checks, without a job."""
    with initialize_config_module("vpo.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
        check_types(list(overrides), config)
    check(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", r"seed=abc must be a whole number, such as 0"),
        ("seed=null", r"seed=null must be a whole number"),
        ("seed=1.5", r"seed=1.5 must be a whole number"),
        ("seed=-1", r"seed=-1 must be a whole number from 0 to 4294967295"),
        ("seed=99999999999", r"seed=99999999999 must be a whole number from 0 to 4294967295"),
        ("dataset.sft=6e3", r"dataset.sft=6000.0 must be a whole number, such as 6000"),
        ("dataset.sft=64.5", r"dataset.sft=64.5 must be a whole number"),
        ("dataset.unsafe_rate=5", r"dataset.unsafe_rate=5 must be a share between 0 and 1"),
        ("drafter=foo", r"drafter=foo must be keys and values, .* method@drafter="),
        ("plan=3", r"plan=3 must be keys and values, such as plan.query_tokens=30"),
        ("+foo=1", r"there is no key foo; nothing reads it"),
        ("+sampling.tok_p=1", r"there is no key sampling.tok_p; did you mean sampling.top_p\?"),
        ("~sampling.k", r"sampling.k was taken away"),
        ("sampling.top_p=2", r"sampling.top_p=2 must be above 0 and at most 1"),
        ("sft.validation=-1", r"sft.validation=-1 must be a share of the rows from 0 to below 1"),
        ("backbone.layers=0", r"backbone.layers=0 must be a whole number of at least 1"),
        ("generator.frames=0", r"generator.frames=0 must be a whole number of at least 1"),
        ("objective.max_steps=0", r"objective.max_steps=0 must be a whole number of at least 1"),
        ("feedback.text=1", r"feedback.text=1 must be true or false"),
        ("feedback.dominance=true", r"feedback.dominance=True must be 'answers', 'dimensions' or 'none', such as answers"),
        ("feedback.dominance=question", r"feedback.dominance=question must be 'answers', 'dimensions' or 'none', such as"),
        ("recompute=critique", r"recompute=critique must be a list"),
        ("sft.optimizer.betas=[a,b]", r"sft.optimizer.betas=.* must be a list of the same kind"),
        ("paths.store=null", r"paths.store=null must be a text"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line(override, message):
    with pytest.raises(UserError, match=message) as raised:
        checked(override)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("workers", ["0", "1.5"])
def test_a_pool_has_workers(workers):
    with pytest.raises(UserError, match=rf"executor.workers={workers} must be a whole number"):
        checked("executor=processes", f"executor.workers={workers}")


def test_the_heads_divide_the_tiny_backbone():
    shape = {"vocab_size": 300, "intermediate_size": 64, "layers": 1, "initializer_range": 0.1, "max_positions": 64}
    with pytest.raises(
        UserError, match=r"backbone.hidden_size=33 must be a multiple of 2 \* backbone.heads = 4, such as 32"
    ):
        TinyBackbone(["a"], 0, hidden_size=33, heads=2, template="tiny", **shape)


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=4294967295", "sampling.temperature=1", "sft.epochs=1.5", "sft.max_steps=3", "stop_after=sft"],
        ["experiment=smoke", "objective.max_steps=null", "dataset=file", "dataset.path=q.json", "dataset.sft=0.5"],
        ["sft=lora", "objective.adapter=null", "sft.adapter.target_modules=[q_proj]"],
        ["sft=lora", "+adapter@objective.adapter=qlora", "objective.adapter.r=16"],
        ["~method.dpo", "~logger.wandb", "seed=1"],
        ["generator._target_=mine.Film", "+generator.guidance=7.5", "generator.frames=all"],  # the class is the user's own
        ["backbone=qwen2_5_7b", "backbone.revision=null"],
        ["trainer=fsdp", "+trainer.strategy_options.limit_all_gathers=true"],
    ],
)  # fmt: skip
def test_what_makes_sense_passes(overrides):
    checked(*overrides)
