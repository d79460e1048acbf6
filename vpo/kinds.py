"""Whether a config keeps the kinds of its values: a whole number stays whole, a mapping a mapping, and no key is made up."""

import difflib
from collections.abc import Mapping
from typing import Any

from vpo.errors import UserError

# Nodes of named entries: one more or one less is no mistake.
OPEN = ("method", "evaluator", "logger", "trainer.strategy_options")
# Whole by default, but any number will do; what may be null though it is not by default; what may be a list, too.
FRACTIONS = ("epochs", "validation", "fps", "alpha", "memory_gb", "peak_tflops")
NULLABLE = ("adapter", "max_steps", "revision", "memory_gb", "peak_tflops", "stop_after")
LISTS = ("target_modules",)
# Its amounts are shares or counts; it says itself which numbers make sense.
AMOUNTS = ("vpo.dataset.file.FileDataset", ("sft", "dpo", "test"))


def check_kinds(base: Mapping[str, Any], config: Mapping[str, Any], path: str = "") -> None:
    """Raise UserError where `config` has other keys than `base`, or a value of another kind; `path` leads to both of them.

    A node whose `_target_` is the user's own class is left to that class.
    """
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
            check_kinds(old, new, name)


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
