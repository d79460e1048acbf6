"""The parser of a verb: argparse, with this command line's conventions.

A mistake is a UserError of one line instead of argparse's two and exit. An option may be written as in a config: `policy=dpo` is
`--policy dpo`, and `force=true` is `--force`; `batch_size=8`, as it is called in Python, is `batch-size=8`.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from vpo.errors import UserError

SPELLINGS = "An option may be written as in a config, too: key=value for --key value, and key=true for --key."


class Parser(argparse.ArgumentParser):
    """Of one verb; `usage` and `description` as argparse prints them. Parsing --help prints and raises SystemExit(0)."""

    def __init__(self, verb: str, *, usage: str, description: str, epilog: str | None = None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(
            f"vpo {verb}".strip(),
            usage=usage,
            description=description,
            epilog=epilog or SPELLINGS,
            formatter_class=layout,
            allow_abbrev=False,
        )
        self.verb = verb
        self._valued: list[str] = []
        self._flags: list[str] = []

    def option(self, name: str, help: str, **named: Any) -> None:
        """Add `--name value`, which may be written `name=value`; `named` goes to argparse."""
        self._valued.append(name)
        self.add_argument(f"--{name}", help=help, **named)

    def flag(self, name: str, help: str) -> None:
        """Add `--name`, which may be written `name=true`."""
        self._flags.append(name)
        self.add_argument(f"--{name}", help=help, action="store_true")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse, with options in either spelling.

        A run folder is called by its overrides (`runs/default/seed=1-1234abcd`), so only a known key, or a word before the `=`
        that cannot be a path, makes an option. Raises UserError with the usage.
        """
        return self.parse_args([flag for one in arguments for flag in self._as_flags(one)])

    def _as_flags(self, argument: str) -> list[str]:
        word, equals, value = argument.partition("=")
        key = self._own_spelling(word.removeprefix("--"))
        if not equals:
            return [f"--{key}"] if argument.startswith("--") else [argument]
        if key in self._flags:
            if value not in ("true", "false"):
                self.error(f"{key}={value} must be true or false")
            return [f"--{key}"] if value == "true" else []
        if key in self._valued:
            return [f"--{key}={value}"]
        if "/" in key or " " in key or Path(argument).exists():  # with a space it is a text, such as a query
            return [argument]
        import difflib

        near = difflib.get_close_matches(key, [*self._valued, *self._flags], n=1)
        self.error(f"{key} is unknown{f', did you mean {near[0]}?' if near else ''}")

    def _own_spelling(self, name: str) -> str:
        """How the option is called here: `batch_size` is `batch-size`, where there is no such name with underscores."""
        own, hyphened = {*self._valued, *self._flags}, name.replace("_", "-")
        return hyphened if name not in own and hyphened in own else name

    def error(self, message: str) -> NoReturn:
        """What argparse calls for a mistake."""
        where = f"{self.verb}: " if self.verb else ""
        raise UserError(f"{where}{message}; use `{' '.join(self.format_usage().split()).removeprefix('usage: ')}`")


def expanded(text: str) -> str:
    """A path as the user typed it, with its home folder: a shell leaves the `~` of `to=~/model` to us."""
    return os.path.expanduser(text)


def as_path(text: str) -> Path:
    """The same as a Path."""
    return Path(expanded(text))
