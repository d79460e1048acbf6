"""Overrides as typed in a shell, turned into what Hydra's grammar reads."""

import os
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString
from hydra.errors import HydraException

from vpo.checking.choices import files_of
from vpo.errors import UserError

# A value that begins so, or holds one of these, may mean a list, a mapping, a sweep or another key's value: Hydra reports
# what is wrong with it.
BEGINS, HOLDS = tuple("[{('\""), (",", "${")


def readable(override: str) -> str:
    """The override, with quotes around a value that only Hydra's grammar takes for more than a text.

    File names such as `q[1].json`, `a (1).json`, `it's.json`, `a#b.json` or `é.json` are no values in that grammar, and the shell
    has removed the quotes that were around them. `~/q.json` becomes a path below the home folder, which a shell leaves to
    programs where the `~` follows a `=`.
    """
    key, equals, value = override.partition("=")
    if not equals:
        return override
    if _parses(override):
        return _with_names(override)
    text = os.path.expanduser(value)
    if text.startswith(BEGINS) or any(one in text for one in HOLDS):
        return override
    as_text = f"{key}={quoted(text)}"
    return as_text if _parses(as_text) else override


def _with_names(override: str) -> str:
    """The override, with the choices of a group as texts, which Hydra takes for granted: `experiment=1`, `logger=null`."""
    parsed = _parsed(override)
    key = parsed.get_key_element().lstrip("+~").partition("@")[0]
    value = parsed.value()
    names = value if isinstance(value, list) else [value]
    plain = all(isinstance(one, str | int | float | None) for one in names)  # no sweep, no mapping
    if not plain or all(isinstance(one, str) for one in names) or not files_of(key):
        return override
    given = override.partition("=")[2].strip()
    texts = [quoted(one.strip("'\" ")) for one in given.strip("[]").split(",")]
    choices = f"[{','.join(texts)}]" if isinstance(value, list) else texts[0]
    return f"{override.partition('=')[0]}={choices}"


def quoted(text: str) -> str:
    """A text as Hydra's grammar writes it, whatever it holds."""
    return QuotedString(text, Quote.double).with_quotes()


def sweeps_of(overrides: Sequence[str]) -> dict[str, int]:
    """The keys that a command sweeps over, with the number of their values. Raises UserError on what Hydra cannot read."""
    counts = {}
    for one in map(_parsed, overrides):
        if one.is_discrete_sweep() and not isinstance(one.value(), Glob):
            counts[one.get_key_element()] = sum(1 for _ in one.sweep_string_iterator())
    return counts


def _parsed(override: str) -> Override:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        key = override.partition("=")[0]
        raise UserError(
            f"{override} is no key=value that can be read (is a bracket or a quote not closed?); a text with brackets, commas or "
            f"quotes needs quotes of its own within those of the shell, as in '{key}=\"a, b\"'"
        ) from error


def _parses(override: str) -> bool:
    try:
        _parsed(override)
    except UserError:
        return False
    return True
