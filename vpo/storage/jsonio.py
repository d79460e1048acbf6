"""How vpo writes JSON: always valid JSON, which knows no NaN and no Infinity.

Python's own writer puts these words into the text, and browsers, jq, pandas and most other readers then refuse the file. Here a
float that is not finite is written as null, which means "no value" everywhere in vpo: a metric or a score that is null counts
as failed, and a curve has a gap there. Half of a surrogate pair, which a server's JSON may hold where it cut an emoji in two, is
no character and has no UTF-8: it is written as U+FFFD, the replacement character.
"""

import json
import math
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HALF_PAIR = re.compile("[\ud800-\udfff]")


def dumps(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """The value as JSON text; null stands for floats that are not finite. Text is kept as it is, not escaped to ASCII."""
    try:
        text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    except ValueError:  # rare, so that not every value is walked through first
        text = json.dumps(finite(value), indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    return _HALF_PAIR.sub("\ufffd", text)


def finite(value: Any) -> Any:
    """The value with None in place of every float that is not finite, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def write_json(path: Path, value: Any, *, indent: int | None = None, sort_keys: bool = False) -> None:
    """Write a JSON file whole or not at all, as `write_whole`."""
    write_whole(path, dumps(value, indent=indent, sort_keys=sort_keys) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all: under a temporary name, then by a rename.

    The name is nobody else's: processes of several machines may write the same file on a shared disk, and have equal numbers.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def canonical(value: Any) -> str:
    """One text for equal values, whatever the order of their keys. To be hashed or compared: unlike what is written to a file,
    it keeps NaN and Infinity apart."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
