"""The shape of a config against every file of ours, and what a file (not an override) may not say."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from vpo.checking.arguments import arguments_model
from vpo.checking.choices import OF_OPTIMIZE
from vpo.checking.problems import check_shape
from vpo.errors import UserError
from vpo.targets import definition_of

ROOT = Path(__file__).resolve().parents[2]
LISTS = ("method", "evaluator", "logger")
CHOICES = sorted(
    f"{path.parent.name}={f'[{path.stem}]' if path.parent.name in LISTS else path.stem}"
    for path in (ROOT / "conf").glob("*/*.yaml")
    if path.parent.name not in ("adapter", "experiment", *OF_OPTIMIZE)
)


def composed(*overrides: str) -> dict:
    with initialize_config_module("vpo.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)


@pytest.fixture(scope="module")
def default():
    return composed()


def changed(config: dict, path: str, value: object) -> dict:
    """The config with another value (or, for ..., without the key) at a dotted path."""
    name, _, rest = path.partition(".")
    if not rest and value is ...:
        return {key: one for key, one in config.items() if key != name}
    return {**config, name: changed(config.get(name, {}), rest, value) if rest else value}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_ours_has_its_shape(choice):
    check_shape(composed(choice))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sampling.tok_p", 1, r"there is no key sampling\.tok_p; did you mean sampling\.top_p\?"),
        ("sampling", {"tok_p": 1}, r"there is no key sampling\.tok_p"),  # before what is missing
        ("sft.optimizer.gama", 0.9, r"there is no key sft\.optimizer\.gama; did you mean sft\.optimizer\.gamma\?"),
        ("generator.frame", 3, r"there is no key generator\.frame; did you mean generator\.frames\?"),
        (
            "method.original.policy2",
            "x",
            r"there is no key method\.original\.policy2; did you mean method\.original\.policy\?",
        ),
        ("backbone.corpus.m", 3, r"there is no key backbone\.corpus\.m"),
        ("generator.frames", ..., r"generator\.frames was taken away"),
        ("backbone.corpus.n", ..., r"backbone\.corpus\.n was taken away"),
        ("judge._target_", ..., r"judge\._target_ was taken away"),
        ("judge", None, r"judge=null must be keys and values"),
        ("judge", "rules", r"judge=rules must be keys and values"),
        ("judge._target_", 3, r"judge\._target_=3 must be a text"),
        (
            "judge._target_",
            "vpo.judge.rules.judge.Nope",
            r"judge\.rules\.judge\.Nope cannot be imported: .* its classes are RulesJudge",
        ),
        ("generator.fps", "8", r"generator\.fps=8 must be a number"),
        ("generator.fps", 0, r"generator\.fps=0 must be a number above 0"),
        ("generator.fps", float("inf"), r"generator\.fps=inf must be a finite number"),
        ("feedback.threshold", float("nan"), r"feedback\.threshold=nan must be a finite number"),
        ("judge.facets", "motion", r"judge\.facets=motion must be a list"),
        ("judge.facets", ["motion", 3], r"judge\.facets=\['motion', 3\] must be a list of the same kind of values"),
        ("judge.min_words", True, r"judge\.min_words=True must be a whole number"),
        ("backbone.corpus.n", 0, r"backbone\.corpus\.n=0 must be a whole number of at least 1"),
        ("backbone.corpus", 3, r"backbone\.corpus=3 must be a list"),
        ("method.sft.max_new_tokens", 0, r"method\.sft\.max_new_tokens=0 must be a whole number of at least 1"),
        ("method.sft.batch_size", 0, r"method\.sft\.batch_size=0 must be a whole number of at least 1"),
        ("objective.max_steps", 1.5, r"objective\.max_steps=1\.5 must be a whole number"),
        ("objective.label", None, r"objective\.label=null must be a text"),
        ("sft.adapter", {"r": 1}, r"sft\.adapter\.alpha was taken away"),
        ("sft.adapter", 8, r"sft\.adapter=8 must be keys and values"),
        ("sft.optimizer.betas", [0.9], r"sft\.optimizer\.betas=\[0\.9\] must be two numbers from 0 to below 1"),
        ("seed", True, r"seed=True must be a whole number"),
        ("seed", 2.0, r"seed=2\.0 must be a whole number"),
        ("stop_after", 3, r"stop_after=3 must be a text"),
        ("build.allow", "mine.", r"build\.allow=mine\. must be a list"),
        ("build", 3, r"build=3 must be keys and values"),
        ("trainer.memory_gb", 0, r"trainer\.memory_gb=0 must be above 0"),
        ("paths.runs", 7, r"paths\.runs=7 must be a text"),
        ("my_value", 1, r"there is no key my_value; nothing reads it"),
    ],
)
def test_a_value_of_another_shape_is_one_line(default, path, value, message):
    with pytest.raises(UserError, match=f"^config: {message}" if "cannot be" not in message else message) as raised:
        check_shape(changed(default, path, value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["q_proj", ["q_proj", "v_proj"]])
def test_a_text_or_a_list_may_be_either(value):
    config = composed("sft=lora")
    check_shape(changed(config, "sft.adapter.target_modules", value))
    with pytest.raises(UserError, match=r"target_modules=3 must be a text .* or a list of the same kind of values"):
        check_shape(changed(config, "sft.adapter.target_modules", 3))


def test_a_users_own_class_says_itself_what_it_takes(default):
    check_shape(
        changed(default, "generator", {"_target_": "mine.Film", "frames": "all", "anything": {"goes": [1, "a"]}})
    )


def test_arguments_are_read_from_the_source():
    """By hand: RulesJudge's are keyword-only, SketchGenerator's may be whole numbers where fractions are meant."""
    model = arguments_model("vpo.backbone.tiny.TinyBackbone", ("backbone",))
    given = {field.alias: field.is_required() for field in model.model_fields.values()}
    assert given["corpus"]
    assert given["initializer_range"]
    assert (given["rope_theta"], given["dtype"]) == (False, False)  # they have defaults
    assert (
        arguments_model("vpo.method.policy.PolicyMethod", ("method", "sft")).model_fields["argument_0"].alias
        == "policy"
    )
    assert (
        not arguments_model("vpo.method.policy.PolicyMethod", ("method", "sft"))
        .model_fields["argument_0"]
        .is_required()
    )
    assert definition_of("vpo.judge.rules.judge.RulesJudge").name == "RulesJudge"
