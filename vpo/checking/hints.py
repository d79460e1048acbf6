"""Hints for misspelt overrides, and for values of the wrong type."""

import difflib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vpo.checking.choices import files_of
from vpo.checking.problems import check_shape
from vpo.storage.redact import redact_text


def one_line(error: BaseException) -> str:
    """Hydra's message as a line of ours: without its layout and without secrets, with the cure or the nearest existing name."""
    return redact_text(_syntax(error.override) if isinstance(error, OverrideParseException) else _message(error))


def _syntax(override: str) -> str:
    """What is wrong with an override that Hydra's grammar does not read, and how it is written so that it does."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: there is no value; write {override or 'key'}=..., or ~{override or 'key'} to take it away"
    if not re.fullmatch(r"[+~]{0,2}[\w./@$:-]+", key):
        return f"{override}: {key or 'nothing'} is no key; an override is key=value, as in seed=1"
    for opening, closing in ("[]", "{}", "()"):
        if value.startswith(opening) and value.count(opening) != value.count(closing):
            return f"{override}: {opening} is not closed; write {key}={opening}...{closing}, in quotes for the shell"
    return f"{override}: a value with such characters must be quoted, once for Hydra and once for the shell: {_quoted(key, value)}"


def _quoted(key: str, value: str) -> str:
    """An override as it is typed so that its value is taken as one text."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    value = value.strip("'\"") if value[:1] in ("'", '"') else value  # one that was opened only
    if value.startswith("~"):
        value = os.path.expanduser(value)
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)  # to Hydra's grammar backslashes count before a quote only
    escaped += "\\" * (len(escaped) - len(escaped.rstrip("\\")))
    return shlex.quote(f'{key}="{escaped}"')


def _message(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = re.sub(r" ?Config search path:.*| ?full_key: \S+| ?object_type=\S+| ?reference_type=\S+", "", text)
    text = re.sub(r" ?See https://hydra.cc\S* for details", "", text)
    listed = re.search(r"Ambiguous value for argument '([^=]*)=(.*?)' 1\. To use it as a list", text)
    if listed:
        key, value = listed.groups()
        return (
            f"{key}={value} is several values, which only a sweep takes (-m); a list is {shlex.quote(f'{key}=[{value}]')}, one "
            f"text {_quoted(key, value)}"
        )
    choice = re.search(r"Could not find '([^']*)/([^'/]+)' Available options in '[^']*': (.*)$", text)
    if choice:
        group, asked, options = choice.groups()
        near = difflib.get_close_matches(asked, options.split(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{group}={asked} is no choice of {group}; {hint}choose one of {', '.join(options.split())}"
    lost = re.search(r"Interpolation key '([^']+)' not found", text)
    if lost:
        given = f"; the environment's variable is ${{oc.env:{lost[1]}}}" if lost[1] in os.environ else ""
        return f"the config has no key {lost[1]}, from which other keys take their value; give it, as in {lost[1]}=...{given}"
    listed = re.search(
        r"Could not load '([^']*)/([^'/]+)'", text
    )  # of a list of choices, whose others Hydra keeps to itself
    if listed:
        return _message(ValueError(_with_choices(*listed.groups())))
    key = re.search(r"(?:Could not override|Key) '([^']+)'", text)
    if key:
        near = difflib.get_close_matches(key[1], list(known_keys()), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"the config has no key {key[1]}; {hint}`vpo run --cfg job` prints the keys"
    return text


def _with_choices(group: str, asked: str) -> str:
    """Hydra's message for one unknown choice, for one of several: our choices, and those of the user's conf/."""
    options = sorted({file.stem for file in files_of(group)})
    return f"Could not find '{group}/{asked}' Available options in '{group}': {' '.join(options)}"


def known_keys() -> Iterator[str]:
    """Every dotted key of the default config, inner nodes (the groups) included."""
    yield from _flatten(default_config([]))


def default_config(choices: list[str], resolve: bool = False) -> Mapping[str, Any]:
    """The composed config with these choices of groups and no other override."""
    inside = HydraConfig.initialized()
    paths = [one for one in HydraConfig.get().overrides.hydra if "hydra.searchpath" in one] if inside else []
    with _search_path():
        return OmegaConf.to_container(compose("config", overrides=[*choices, *paths]), resolve=resolve)


def compose_ahead(overrides: list[str]) -> DictConfig | None:
    """The config of a command before Hydra acts on it, Hydra's own node included; of a sweep, that of its first job.

    None where it cannot be composed: Hydra itself will say why.
    """
    try:
        firsts = []
        for one in OverridesParser.create().parse_overrides(overrides):
            swept = one.is_discrete_sweep() and not isinstance(one.value(), Glob)
            firsts.append(f"{one.get_key_element()}={next(one.sweep_string_iterator())}" if swept else one.input_line)
        return composed_by_hydra(firsts)
    except (HydraException, OmegaConfBaseException):
        return None


def composed_by_hydra(overrides: list[str]) -> DictConfig:
    """What Hydra makes of overrides, its own node included. Raises Hydra's and OmegaConf's errors."""
    with _search_path():
        return compose("config", overrides=overrides, return_hydra_config=True)


def _search_path() -> AbstractContextManager[Any]:
    """Inside a job the search path, the user's conf too, is set; elsewhere it is ours alone."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return initialize_config_module("vpo.conf", version_base="1.3")


def check_types(overrides: list[str], config: Mapping[str, Any]) -> None:
    """Raise UserError for a key or a value that the config's shape does not have, with a right value where there is one.

    Right is what the same choices of groups (the experiment among them) give without other overrides.
    """

    def example(path: Sequence[str | int]) -> Any:
        try:
            value: Any = default_config([one for one in overrides if _chooses(one)], resolve=True)
            for part in path:
                value = value[part]
        except (HydraException, OmegaConfBaseException, LookupError, TypeError):
            return None  # a key of the user's own
        return value

    check_shape(config, example)


def _chooses(override: str) -> bool:
    """Whether an override chooses a file of a group (`judge=rules`, `method@drafter=...`, `~logger`), not a value."""
    return bool(files_of(override.lstrip("+~").split("=", 1)[0].split("@")[0]))


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
