"""Hydra's own errors as lines of ours, whose cure works when it is typed."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from vpo.checking.hints import one_line
from vpo.checking.overrides import readable


def composed(override: str):
    with initialize_config_module("vpo.conf", version_base="1.3"):
        return compose("config", overrides=["dataset=file", override])


def line_of(override: str) -> str:
    with pytest.raises((HydraException, OmegaConfBaseException)) as raised:
        composed(override)
    line = one_line(raised.value)
    assert "\n" not in line
    assert "Exception" not in line
    return line


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("~/q.json", str(Path.home() / "q.json")),
        *(
            (value, value)
            for value in (
                "q[1].json", "a (1).json", "a=b.json", "it's.json", "a#b.json", "a&b.json", "é.json", "a;b", "<x>", "q(1).json", "a,b",
                "file://a?b=c", 'say "hi" (1)', "a!b", "(a)\\", 'a\\"(b)', "C:\\a\\q (1).json", "a:b]",
            )
        ),
        ("'it's.json'", "it's.json"),
        ('"a', "a"),
    ],
)  # fmt: skip
def test_a_value_that_hydra_cannot_read_is_quoted_by_the_cure(value, meant):
    line = line_of(f"dataset.path={value}")
    assert line.startswith(f"dataset.path={value}")
    (typed,) = shlex.split(re.split(r"for the shell: |one text ", line)[1])
    assert composed(typed).dataset.path == meant


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=[1", "seed=[1: [ is not closed; write seed=[...], in quotes for the shell"),
        ("judge.facets=[a,b", "judge.facets=[a,b: [ is not closed"),
        ("judge={x.json", "judge={x.json: { is not closed"),
        ("seed", "seed: there is no value; write seed=..., or ~seed to take it away"),
        ("a b=1", "a b=1: a b is no key; an override is key=value"),
        (
            "dataset.path=a,b",
            "dataset.path=a,b is several values, which only a sweep takes (-m); a list is 'dataset.path=[a,b]'",
        ),
        ("judge=nope", "judge=nope is no choice of judge; choose one of classes, guard_llama"),
        ("sampling.kk=1", "the config has no key sampling.kk; did you mean sampling.k?"),
        ("dataset.path=${NOWHERE}/x", "the config has no key NOWHERE, from which other keys take their value"),
    ],
)
def test_other_mistakes_have_a_line_of_their_own(override, message):
    if "${" in override:
        with pytest.raises(OmegaConfBaseException) as raised:
            _ = composed(override).dataset.path
        assert one_line(raised.value).startswith(message)
    else:
        assert line_of(override).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer=3", "trainer=3 is no choice of trainer; choose one of cpu"),
        ("judge=false", "judge=false is no choice of judge; choose one of classes, guard_llama"),
        ("dataset=1.5", "dataset=1.5 is no choice of dataset; choose one of"),
        ("logger=null", "logger=null is no choice of logger; choose one of"),
        ("logger=[csv,1]", "logger=1 is no choice of logger; choose one of"),
        ("evaluator=[null]", "evaluator=null is no choice of evaluator; choose one of"),
    ],
)
def test_a_choice_that_is_no_text_to_hydra_is_no_choice(override, message):
    assert line_of(readable(override)).startswith(message)


def test_a_choice_of_the_user_may_be_called_by_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/7.yaml").write_text("# @package _global_\nseed: 5\n")
    override = readable("experiment=7")
    with initialize_config_module("vpo.conf", version_base="1.3"):
        assert compose("config", overrides=[override, f"hydra.searchpath=['file://{tmp_path}/conf']"]).seed == 5
