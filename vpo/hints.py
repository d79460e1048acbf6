"""What the config should have been told: hints for misspelt overrides, and overrides of the wrong type."""

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from vpo.choices import files_of
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
    lost = re.search(r"Interpolation key '([^']+)' not found", text)
    if lost:
        return f"the config has no key {lost[1]}, from which other keys take their value; give it, as in {lost[1]}=..."
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
    options = sorted({file.stem for file in files_of(group)})
    return f"Could not find '{group}/{asked}' Available options in '{group}': {' '.join(options)}"


def known_keys() -> Iterator[str]:
    """Every dotted key of the default config, inner nodes (the groups) included."""
    yield from _flatten(default_config([]))


def default_config(choices: list[str], resolve: bool = False) -> Mapping[str, Any]:
    """The composed config with these choices of groups and no other override."""
    with _search_path():
        return OmegaConf.to_container(compose("config", overrides=choices), resolve=resolve)


def _search_path() -> AbstractContextManager[Any]:
    """Inside a job the search path, the user's conf too, is set; elsewhere it is ours alone."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return initialize_config_module("vpo.conf", version_base="1.3")


def check_types(overrides: list[str], config: Mapping[str, Any]) -> None:
    """Raise UserError where an override changes the kind of a value, adds a key that nothing reads or takes one away.

    The measure is the config composed with the same choices of groups (the experiment among them) and no other override.
    A node whose `_target_` is the user's own class is left to that class.
    """
    with _search_path():
        choices = [one for one in overrides if _chooses(one)]
        if len(choices) < len(overrides):
            _compare(default_config(choices, resolve=True), config, "")


# Nodes of named entries: one more or one less is no mistake.
OPEN = ("method", "evaluator", "logger", "trainer.strategy_options")
# Whole by default, but any number will do; what may be null though it is not by default; what may be a list, too.
FRACTIONS = ("epochs", "validation", "fps", "alpha", "memory_gb", "peak_tflops")
NULLABLE = ("adapter", "max_steps", "revision", "memory_gb", "peak_tflops", "stop_after")
LISTS = ("target_modules",)
# Its amounts are shares or counts; it says itself which numbers make sense.
AMOUNTS = ("vpo.dataset.file.FileDataset", ("sft", "dpo", "test"))


def _chooses(override: str) -> bool:
    """Whether an override chooses a file of a group (`judge=rules`, `method@drafter=...`, `~logger`), not a value."""
    name = override.lstrip("+~").split("=", 1)[0].split("@")[0]
    return bool(GlobalHydra.instance().config_loader().get_group_options(name))


def _compare(base: Mapping[str, Any], config: Mapping[str, Any], path: str) -> None:
    target = str(config.get("_target_", "vpo."))
    if not target.startswith("vpo."):
        return
    if "_target_" not in config and path not in OPEN:
        _compare_keys(base, config, f"{path}." if path else "")
    for key in base:
        if key not in config or key == "_target_":
            continue
        old, new, name = base[key], config[key], f"{path}.{key}" if path else key
        fraction = key in FRACTIONS or (target, key in AMOUNTS[1]) == (AMOUNTS[0], True)
        kind = _kind_due(key, old, new, fraction)
        if kind:
            shown = "null" if new is None else new
            raise UserError(f"config: {name}={shown} must be {kind}, such as {_example(name, old)}")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            _compare(old, new, name)


def _compare_keys(base: Mapping[str, Any], config: Mapping[str, Any], prefix: str) -> None:
    unknown = [key for key in config if key not in base]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(base), n=1)
        hint = f"did you mean {prefix}{near[0]}? " if near else "nothing reads it; "
        raise UserError(f"config: there is no key {prefix}{unknown[0]}; {hint}`vpo run --cfg job` prints the keys")
    gone = [key for key in base if key not in config and key != "logger"]
    if gone:
        raise UserError(f"config: {prefix}{gone[0]} was taken away, and a run needs it; leave out ~{prefix}{gone[0]}")


def _kind_due(key: str, old: Any, new: Any, fraction: bool) -> str | None:
    """What the new value should be and is not, in words."""
    if old is None or (new is None and key in NULLABLE) or (key in LISTS and isinstance(new, str | list)):
        return None
    if isinstance(old, Mapping):
        return None if isinstance(new, Mapping) else "keys and values"
    if isinstance(old, list):
        whole = isinstance(new, list) and not (old and any(_kind_due(key, old[0], one, True) for one in new))
        return None if whole else "a list of the same kind of values"
    if isinstance(old, bool):
        return None if isinstance(new, bool) else "true or false"
    if isinstance(old, int) and not fraction:
        return None if isinstance(new, int) and not isinstance(new, bool) else "a whole number"
    if isinstance(old, int | float):
        return None if isinstance(new, int | float) and not isinstance(new, bool) else "a number"
    return None if isinstance(new, type(old)) else "a text (in quotes if it looks like something else)"


def _example(name: str, old: Any) -> str:
    if isinstance(old, Mapping):
        key = next((one for one in old if one != "_target_"), "key")
        return f"{name}.{key}={old.get(key, '...')}; a file is chosen by its group, as in method@drafter=sketch_fewshot"
    return f"[{','.join(map(str, old))}]" if isinstance(old, list) else str(old)


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
