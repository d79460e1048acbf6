"""Names and reasons as parts of a message of one line."""

from collections.abc import Sequence

SHOWN = 4  # names in a message


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def in_order(name: str) -> list[tuple[int, str]]:
    """Sorts `layers.2` before `layers.10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def in_short(error: BaseException) -> str:
    """An exception's text as part of one line."""
    return " ".join(str(error).split())[:240] or type(error).__name__
