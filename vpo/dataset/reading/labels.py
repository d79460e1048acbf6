"""Labels that evaluators read of a query, in the one form that they have in `Query.meta`; any other label stays as it is."""

from collections.abc import Callable, Mapping
from typing import Any

from vpo.dataset.reading.problems import RowProblem, shown

_TRUTH = {True: True, False: False, "true": True, "false": False}


def read_label(name: str, value: Any) -> Any:
    """The value of a label: `aspects` is a list of names, and one name alone a list of one; `harmless` is true or false.

    Raises:
        RowProblem: The label has another meaning to an evaluator than this value could have.
    """
    read = _READERS.get(name)
    return value if read is None else read(name, value)


def _names(name: str, value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) and one.strip() for one in names):
        raise _problem(name, value, "a list of names, or one name")
    return [one.strip() for one in names]


def _truth(name: str, value: Any) -> bool:
    read = value.strip().casefold() if isinstance(value, str) else value
    if not isinstance(read, bool | str) or read not in _TRUTH:
        raise _problem(name, value, "true or false")
    return _TRUTH[read]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _problem(name, value, "a text")
    return value.strip()


def _questions(name: str, value: Any) -> list[dict[str, str]]:
    keys = ("kind", "text")
    fits = isinstance(value, list | tuple) and all(
        isinstance(one, Mapping) and all(isinstance(one.get(key), str) and one[key].strip() for key in keys)
        for one in value
    )
    if not fits:
        raise _problem(name, value, 'a list of {"kind": ..., "text": ...}')
    return [{key: one[key].strip() for key in keys} for one in value]


def _problem(name: str, value: Any, wanted: str) -> RowProblem:
    return RowProblem(
        f"has {name}={shown(value)}, which is not {wanted}", f"with {name} that is not {wanted}", differs=True
    )


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "aspects": _names, "harmless": _truth, "sounds_like": _text, "questions": _questions,
}  # fmt: skip
