"""A run folder as tables read it: its config, its means and its items. No torch, no W&B."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import UserError
from vpo.results.added import evaluators_added
from vpo.results.metrics import Cards, are_cards
from vpo.results.schema import read_results
from vpo.storage.store import canonical, without
from vpo.tables.spec import RowSpec
from vpo.targets import EXTERNAL_QUERIES

# What must be equal between runs of one table: whatever decides how a prompt or a clip is measured.
MEASURED_BY = ("dataset", "judge", "reward", "evaluator")
# Fields of these that may differ. The test queries themselves are compared, so neither the path of their file nor the seed that
# sampled them matters.
MAY_DIFFER = ("dataset.path", "dataset.seed")

# Safe, and written in C where PyYAML was built with libyaml: a table of twenty runs reads twenty long configs.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

ABSENT = object()
DAMAGED = object()  # the file that holds the value cannot be read


class Run:
    """A finished run folder; its files are read when first asked for, and a UserError names the one that is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        config = self._parsed("config.yaml", partial(yaml.load, Loader=_LOADER))
        if not isinstance(config, dict) or not isinstance(config.get("seed"), int):
            raise self._damaged("config.yaml", "expected a mapping with a seed")
        return config

    @cached_property
    def results(self) -> dict[str, Any]:
        """The content of results.json."""
        results = read_results(self.folder / "results.json")
        if not are_cards(results.get("evaluators", {})):
            raise self._damaged("results.json", "expected a card of each evaluator, with its metrics")
        return results

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        """One dict per (query, method)."""
        return self._parsed("items.jsonl", lambda text: [json.loads(line) for line in text.split("\n") if line])

    @cached_property
    def damage(self) -> UserError | None:
        """What is wrong with the files that decide which rows use the run; None if nothing is."""
        try:
            _ = self.config, self.results
        except UserError as error:
            return error
        return None

    @cached_property
    def source(self) -> str:
        """How a footer names the run: the last two parts of its path, and a short sha of its results."""
        sha = hashlib.sha256(self._read("results.json").encode()).hexdigest()[:8]
        return f"{'/'.join(self.folder.parts[-2:])} ({sha})"

    def value(self, path: str) -> Any:
        """The value at a dotted path: of the config, or, below `run`, of the results. `ABSENT` or `DAMAGED` without one."""
        try:
            found: Any = {"run": self.results.get("run", {})} if path.startswith("run.") else self.config
        except UserError:
            return self.folder.parent.name if path == "run.experiment" else DAMAGED  # as run folders are called
        for key in path.split("."):
            found = found.get(key, ABSENT) if isinstance(found, Mapping) else ABSENT
        return found

    def may_fit(self, row: RowSpec) -> bool:
        """Whether the row may use this run: a value that a damaged file held could be any."""
        if any(self.value(path) not in (wanted, DAMAGED) for path, wanted in row.where.items()):
            return False
        try:
            return row.method in self.results["methods"]
        except UserError:
            return True

    @property
    def of_others(self) -> bool:
        """Whether it measured what others made: its data set names their files, and its queries say all that matters of it."""
        return self.config.get("dataset", {}).get("_target_") == EXTERNAL_QUERIES

    @property
    def cards(self) -> Cards:
        """The cards of its evaluators; empty in results of an older version."""
        return self.results.get("evaluators", {})

    def measured_by(self) -> dict[str, str]:
        """What must agree between runs, each as one text. The data's seed may differ: the test queries may not."""
        parts = without({name: self.config.get(name) for name in MEASURED_BY}, MAY_DIFFER)
        queries = sorted({(item["query_id"], item["query"]) for item in self.items})
        added = evaluators_added(self.folder)  # which stand in columns of their own
        versions = {name: card.get("version") for name, card in self.cards.items() if name not in added}
        parts |= {"evaluator versions": versions, "test queries": queries}
        return {name: canonical(part) for name, part in parts.items()}

    def _parsed(self, name: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(self._read(name))
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise self._damaged(name, " ".join(str(error).split())[:100]) from error

    def _damaged(self, name: str, reason: str) -> UserError:
        return UserError(
            f"{self.folder / name} is damaged ({reason}); give the run's command again, or move its folder away"
        )

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{self.folder / name}: {error.strerror}; finish the run by giving its command again"
            ) from error
