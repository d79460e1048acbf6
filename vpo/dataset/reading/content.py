"""From the bytes of a data file, as they lie on disk, to its values."""

import io
import logging
from collections.abc import Iterator
from typing import Any

from vpo.dataset.reading.columns import Columns
from vpo.dataset.reading.decoding import decode
from vpo.dataset.reading.formats import read_values
from vpo.dataset.reading.problems import FileProblem, Place
from vpo.dataset.reading.source import recognised, unpack
from vpo.dataset.reading.stream import in_memory
from vpo.dataset.reading.tables import parquet_rows

log = logging.getLogger(__name__)


def read_content(suffix: str, packed: bytes, path: str, columns: Columns | None = None) -> Iterator[tuple[Place, Any]]:
    """The values, each with its place; one that cannot be read is a RowProblem.

    Args:
        suffix: of the file, with `.gz` where it is packed (`suffix_of`).
        packed: its bytes.
        path: how the log calls it, where its encoding is worth a line.
        columns: what it calls its fields.

    Raises:
        FileProblem: the content is not what the suffix says.
    """
    suffix, content = unpack(suffix, packed)
    columns = columns or Columns()
    if suffix == ".parquet":
        return parquet_rows(io.BytesIO(content), columns)
    text, encoding = decode(content)
    other = recognised(text.encode("utf-8", "surrogatepass"))  # a pointer or a page that was written as UTF-16, say
    if other:
        raise FileProblem(f"is {other}")
    if encoding:
        log.warning("  %s: read as %s", path, encoding)
    return read_values(suffix, in_memory(text), columns)
