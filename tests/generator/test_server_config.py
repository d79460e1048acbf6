"""What of a video server's settings names a clip or a run, and what only says how it is asked."""

import inspect

import pytest

from tests.checking.test_config import changed, composed, keys_of, with_value
from vpo.checking.composed import Composed
from vpo.checking.rules import check
from vpo.checking.secrets import check_secrets
from vpo.errors import UserError
from vpo.generator.server import ServerGenerator

SERVER = ("generator=server", "generator.base_url=http://here:1/v1")
# By hand: all that the yaml has besides what decides a clip, or whether it counts as one.
IDLE = {"base_url", "api_key_env", "concurrency", "batch_size", "timeout", "call_timeout", "look_every", "max_retries", "price",
        "max_cost"}  # fmt: skip


def test_only_what_decides_a_clip_is_in_the_key_of_a_result():
    base = composed(*SERVER)
    known, node = keys_of(base), base["generator"]
    idle = {
        name
        for name, value in node.items()
        if name != "_target_"
        and keys_of(with_value(base, ("generator", name), changed(value if value else "x"))) == known
    }
    assert idle == IDLE


def test_the_address_stands_for_the_endpoint_unless_it_has_a_name():
    assert composed(*SERVER)["generator"]["endpoint"] == "http://here:1/v1"
    assert composed(*SERVER, "generator.endpoint=ours")["generator"]["endpoint"] == "ours"


def test_a_run_goes_on_under_its_name_with_another_limit_or_pace():
    idle = ("generator.max_cost=9", "generator.price=1", "generator.concurrency=3")
    base, other = composed(*SERVER), composed(*SERVER, *idle)
    assert Composed(base, SERVER).name == Composed(other, (*SERVER, *idle)).name
    assert Composed(base, SERVER).name != Composed(base, (*SERVER, "generator.endpoint=ours")).name


def test_the_yaml_gives_every_argument_its_default():
    node = composed(*SERVER)["generator"]
    arguments = inspect.signature(ServerGenerator).parameters
    assert list(node) == ["_target_", *arguments]
    for name, argument in arguments.items():
        if argument.default is not inspect.Parameter.empty and name not in ("endpoint", "extra_body", "omit"):
            assert node[name] == argument.default, name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("generator.concurrency=0", "concurrency=0 must be a whole number of at least 1"),
        ("generator.look_every=0", "look_every=0 must be above 0"),
        ("generator.max_cost=2", "generator.max_cost needs generator.price"),
        ("+generator.retries=2", "there is no key"),
        ("+generator.extra_body.api_key=sk-0123456789abcdef0123", "holds a secret"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(override, words):
    config = composed(*SERVER, override)
    with pytest.raises(UserError) as caught:
        checked(config)
    assert words in str(caught.value)


def checked(config: dict) -> None:
    check_secrets(config)
    check(config)


def test_right_settings_pass():
    check(composed(*SERVER, "generator.frames=49", "generator.height=480", "generator.width=720", "generator.fps=8"))
