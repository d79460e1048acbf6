"""What a run has asked of servers that charge for it: one file a run, which all its processes and all its starts share.

A line is one JSON object. `{"open": id, "bound": cost}` stands before a request that has a limit to keep, and `{"close": id, ...}`
behind it, with what it took or, where the server refused it, with nothing. A request that was opened and never closed (its process
was killed, its server never answered) may have been charged, so its bound counts against the limit for good. `{"cached": n}` counts
answers that were found in the cache.
"""

import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from vpo.records import Usage
from vpo.storage.jsonio import dumps
from vpo.storage.rows import new_lines

# The environment's variable that names the file, so that every process of a run finds it.
LEDGER = "VPO_LEDGER"
FILE = "spending.jsonl"  # of a run folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spent:
    """Totals of a ledger.

    Attributes:
        requests: answers that servers gave.
        cached: answers that were found in the cache, and asked of no server.
        tokens_in, tokens_out: read and written by the answered requests.
        cost: of the answered requests, in the currency of the configured prices; None where no price is known.
        unknown: the most that requests without an answer may have cost.
    """

    requests: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    unknown: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.requests or self.cached or self.unknown)

    def __str__(self) -> str:
        parts = [
            f"{self.requests} requests ({self.cached} more were in the cache)",
            f"{self.tokens_in} tokens read",
            f"{self.tokens_out} written",
        ]
        if self.cost is not None:
            parts.append(f"cost {self.cost:.4f}")
        if self.unknown:
            parts.append(f"at most {self.unknown:.4f} more for requests without an answer")
        return ", ".join(parts)


@dataclass
class Ledger:
    """Adds up what requests take. Several processes may write to one file.

    Attributes:
        path: of the file; None keeps the counts in this object only.
    """

    path: Path | None = None
    _spent: Spent = field(default_factory=Spent)
    _open: dict[str, float] = field(default_factory=dict)
    _offset: int = 0

    @classmethod
    def of_this_run(cls) -> "Ledger":
        """The ledger of the run that this process belongs to; one of its own where there is no run."""
        named = os.environ.get(LEDGER)
        return cls(Path(named) if named else None)

    @property
    def spent(self) -> Spent:
        """The totals, with what other processes have written by now."""
        self._read()
        return self._totals()

    def reserve(self, bound: float, limit: float) -> str | None:
        """Enter a request that costs at most `bound`. None where the limit could be exceeded, and then nothing is entered."""
        with self._lock():
            self._read()
            now = self._totals()
            if (now.cost or 0.0) + now.unknown + bound > limit:
                return None
            name = uuid.uuid4().hex
            self._write({"open": name, "bound": bound})
            return name

    def close(self, name: str | None, usage: Usage | None) -> None:
        """Enter what a request took; None where it was refused and costs nothing. `name` is what `open` gave, if it was opened."""
        if name is None and usage is None:
            return
        line: dict[str, Any] = {"close": name}
        if usage is not None:
            line |= {"tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, "cost": usage.cost}
        with self._lock():
            self._write(line)

    def add_cached(self, count: int) -> None:
        """Count answers that were found in the cache."""
        if count:
            with self._lock():
                self._write({"cached": count})

    def _totals(self) -> Spent:
        open_bounds = sum(self._open.values())
        return Spent(**{**vars(self._spent), "unknown": open_bounds})

    def _lock(self) -> Any:
        if self.path is None:
            return _Unlocked()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_name(self.path.name + ".lock"))

    def _write(self, line: dict[str, Any]) -> None:
        if self.path is None:
            self._count(line)
            return
        with self.path.open("ab") as file:
            file.write((dumps(line) + "\n").encode())

    def _read(self) -> None:
        """Count the whole lines that are new in the file; a line that a kill has cut short is no line."""
        if self.path is None:
            return
        lines, self._offset = new_lines(self.path, self._offset)
        for line in lines:
            try:
                self._count(json.loads(line))
            except (ValueError, TypeError, AttributeError):
                continue  # what a kill left half written, with the next line behind it

    def _count(self, line: dict[str, Any]) -> None:
        if "open" in line:
            self._open[line["open"]] = float(line["bound"])
            return
        now = vars(self._spent) | {"cached": self._spent.cached + line.get("cached", 0)}
        if "close" in line:
            self._open.pop(line["close"], None)
        if "tokens_in" in line:
            now["requests"] += 1
            now["tokens_in"] += line["tokens_in"]
            now["tokens_out"] += line["tokens_out"]
            if line["cost"] is not None:
                now["cost"] = (now["cost"] or 0.0) + line["cost"]
        self._spent = Spent(**now)


class _Unlocked:
    """Stands for a lock where there is no file."""

    def __enter__(self) -> None:
        """Nothing to take."""

    def __exit__(self, *unused: object) -> None:
        """Nothing to give back."""


@contextmanager
def spending_in(file: Path) -> Iterator[None]:
    """Have all processes of a run enter what they ask of servers in this file, and log the sums at the end, however it comes."""
    before = os.environ.get(LEDGER)
    os.environ[LEDGER] = str(file.resolve())
    try:
        yield
    finally:
        spent = Ledger.of_this_run().spent
        if spent:
            log.info("servers, over all starts of this run: %s", spent)
        os.environ.pop(LEDGER)
        if before is not None:
            os.environ[LEDGER] = before
