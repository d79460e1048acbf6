"""What the config should have been told: hints for misspelt overrides, and overrides of the wrong type."""

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from vpo.errors import UserError


def one_line(error: BaseException) -> str:
    """Hydra's message without its layout, with the nearest existing name where a key or a choice is unknown."""
    text = " ".join(str(error).split())
    text = re.sub(r" ?Config search path:.*| ?full_key: \S+| ?object_type=\S+| ?reference_type=\S+", "", text)
    text = re.sub(r" ?See https://hydra.cc\S* for details", "; quote values that hold brackets, commas or spaces", text)
    choice = re.search(r"Could not find '([^']*)/([^'/]+)' Available options in '[^']*': (.*)$", text)
    if choice:
        group, asked, options = choice.groups()
        near = difflib.get_close_matches(asked, options.split(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{group}={asked} is no choice of {group}; {hint}choose one of {', '.join(options.split())}"
    listed = re.search(
        r"Could not load '([^']*)/([^'/]+)'", text
    )  # of a list of choices, whose others Hydra keeps to itself
    if listed:
        return one_line(ValueError(_with_choices(*listed.groups())))
    key = re.search(r"(?:Could not override|Key) '([^']+)'", text)
    if key:
        near = difflib.get_close_matches(key[1], list(known_keys()), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"the config has no key {key[1]}; {hint}`vpo run --cfg job` prints the keys"
    return text


def _with_choices(group: str, asked: str) -> str:
    """Hydra's message for one unknown choice, for one of several: our choices, and those of the user's conf/."""
    places = [Path(__file__).parent / "conf" / group, Path("conf") / group]
    options = sorted({file.stem for place in places for file in place.glob("*.yaml")})
    return f"Could not find '{group}/{asked}' Available options in '{group}': {' '.join(options)}"


def known_keys() -> Iterator[str]:
    """Every dotted key of the default config, inner nodes (the groups) included."""
    yield from _flatten(default_config([]))


def default_config(choices: list[str]) -> Mapping[str, Any]:
    """The composed config with these choices of groups and no other override."""
    outside = not GlobalHydra.instance().is_initialized()  # inside a job the search path, the user's conf too, is set
    with initialize_config_module("vpo.conf", version_base="1.3") if outside else nullcontext():
        return OmegaConf.to_container(compose("config", overrides=choices), resolve=False)


def check_types(overrides: list[str], config: Mapping[str, Any]) -> None:
    """Raise UserError where an override puts a word in place of a number, or the other way round."""
    plain = dict(one.split("=", 1) for one in overrides if "=" in one and one[0] not in "+~")
    values = [key for key in plain if "." in key]
    if not values:
        return
    base = dict(_leaves(default_config([f"{key}={value}" for key, value in plain.items() if "." not in key])))
    given = dict(_leaves(config))
    for key in values:
        old, new = base.get(key), given.get(key)
        if isinstance(old, str) and old.startswith("${"):
            continue
        if _is_number(old) != _is_number(new) and None not in (old, new) and not isinstance(new, list | dict):
            kind = "a number" if _is_number(old) else f"a {type(old).__name__}"
            raise UserError(f"config: {key}={new} must be {kind}, such as {old}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
