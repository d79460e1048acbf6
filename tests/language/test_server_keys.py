"""What of a server's settings names a result, an answer or a run, and what only says how it is asked."""

import pytest

from tests.checking.test_config import changed, composed, keys_of, with_value
from vpo.checking.composed import Composed
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.language.server import ServerEngine

SERVER = (
    "method=[original,llm]",
    "method@drafter=llm",
    "engine=server",
    "engine.model=m",
    "engine.base_url=http://here:1/v1",
)
# By hand: all that the yaml has besides what decides an answer (endpoint, model, extra_body, omit, max_tokens_field).
IDLE = {"base_url", "api_key_env", "concurrency", "timeout", "max_retries", "requests_per_minute", "tokens_per_minute",
        "price_in", "price_out", "max_cost", "cache"}  # fmt: skip


def name_of(*overrides: str) -> str:
    return Composed(composed(*SERVER, *overrides), overrides).name


def test_only_what_decides_an_answer_is_in_the_key_of_a_result():
    base = composed(*SERVER)
    known, node = keys_of(base), base["method"]["llm"]["engine"]
    idle = {
        name
        for name, value in node.items()
        if name != "_target_"
        and keys_of(with_value(base, ("method", "llm", "engine", name), changed(value if value else "x"))) == known
    }
    assert idle == IDLE


def test_a_drafter_that_asks_a_server():
    base = composed(*SERVER, "method=[original,sft]")
    for name, differs in (
        ("concurrency", False),
        ("cache", False),
        ("base_url", False),
        ("endpoint", True),
        ("omit", True),
    ):
        assert (keys_of(with_value(base, ("drafter", "engine", name), "other")) != keys_of(base)) is differs, name


def test_the_address_stands_for_the_endpoint_unless_it_has_a_name():
    assert composed(*SERVER)["engine"]["endpoint"] == "http://here:1/v1"
    moved = "engine.base_url=http://there:2/v1"
    assert keys_of(composed(*SERVER)) != keys_of(composed(*SERVER, moved))
    assert keys_of(composed(*SERVER, "engine.endpoint=ours")) == keys_of(
        composed(*SERVER, moved, "engine.endpoint=ours")
    )


def test_a_run_goes_on_under_its_name_with_another_limit_or_pace():
    """What it has spent so far stands in its folder: with a raised limit it must find it there."""
    assert name_of() == name_of(
        "engine.max_cost=9", "engine.price_in=1", "engine.price_out=1", "++engine.concurrency=3"
    )
    assert name_of() == name_of("paths.store=elsewhere")
    assert name_of() != name_of("engine.endpoint=ours")
    assert name_of() != name_of("engine.model=other")


def test_the_yaml_gives_every_argument_its_default():
    import inspect

    node = composed(*SERVER)["engine"]
    arguments = inspect.signature(ServerEngine).parameters
    assert list(node) == ["_target_", *arguments]
    of_config = {"endpoint", "cache", "extra_body", "omit"}
    for name, argument in arguments.items():
        if argument.default is not inspect.Parameter.empty and name not in of_config:
            assert node[name] == argument.default, name


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("engine.concurrency=0", "concurrency=0 must be a whole number of at least 1"),
        ("engine.timeout=0", "timeout=0 must be above 0"),
        ("engine.max_retries=-1", "max_retries=-1 must be a number of at least 0"),
        ("engine.requests_per_minute=0", "requests_per_minute=0 must be a whole number of at least 1"),
        ("engine.price_in=cheap", "price_in=cheap must be a number"),
        ("engine.max_cost=2", "engine.max_cost needs engine.price_in and engine.price_out"),
        ("+engine.retries=2", "there is no key"),
        ("engine.base_url=host", "is no address of an API"),
        ("engine.api_key_env=NOT_SET_ANYWHERE", "export NOT_SET_ANYWHERE"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(override, words):
    pytest.importorskip("openai", reason="the extra `server` is not installed")
    with pytest.raises(UserError) as caught:
        check(composed(*SERVER, override))
    assert words in str(caught.value)


def test_a_name_that_looks_like_a_folder_is_the_servers_affair():
    pytest.importorskip("openai", reason="the extra `server` is not installed")
    check(composed(*SERVER, "engine.model=/data/models/llama"))


def test_without_the_client_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^engine=server needs the openai client: pip install 'vpo\[server\]'$"):
        ServerEngine("http://here:1/v1", "m")
