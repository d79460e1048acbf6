"""The arguments of verbs that do not compose a config: names, and `key=value` options."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from vpo.errors import UserError


class Usage(Exception):  # noqa: N818 (no error: the user asked for it)
    """Raised with a verb's usage where --help is among its arguments."""


def parse(
    verb: str, arguments: Sequence[str], *, names: int, options: Sequence[str], usage: str
) -> tuple[list[str], dict[str, str]]:
    """The `names` positional arguments and the given options of a verb.

    A run folder is called by its overrides (`runs/default/seed=1-1234abcd`), so only a known key, or a word before the `=`
    that cannot be a path, makes an option. Raises UserError with the usage where a key is unknown or the number of names is
    not `names`, and Usage where it is asked for.
    """
    if not {"-h", "--help"}.isdisjoint(arguments):
        raise Usage(usage.replace("`", ""))
    found: list[str] = []
    given: dict[str, str] = {}
    for one in arguments:
        key, equals, value = one.partition("=")
        if equals and key in options:
            given[key] = value
        elif not equals or "/" in key or Path(one).exists():
            found.append(one)
        else:
            near = difflib.get_close_matches(key, options, n=1)
            raise UserError(f"{verb}: {key} is unknown{f', did you mean {near[0]}?' if near else ''}; use {usage}")
    if len(found) != names:
        raise UserError(
            f"{verb}: {names} {'name is' if names == 1 else 'names are'} due, {len(found)} given; use {usage}"
        )
    return found, given


def yes(verb: str, given: dict[str, str], key: str) -> bool:
    """The value of a true/false option; false where it is not given."""
    value = given.get(key, "false")
    if value not in ("true", "false"):
        raise UserError(f"{verb}: {key}={value} must be true or false")
    return value == "true"
