"""What a stage is: one step of the method, whose result is stored once under a key of what it depends on."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vpo.storage.store import Entry, numbered
from vpo.targets import declared, targets_in

if TYPE_CHECKING:
    from vpo.stages.context import Context

Node = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the method. A subclass is a dataclass whose fields are all that its result depends on.

    Fields that hold store entries (or mappings or sequences of them) are the stage's inputs; all other fields are its node; None is
    no part of either. The key of the result hashes both, so that nothing that `work` reads can be missing from it. The first
    line of the docstring is the stage's line in `vpo run --help`.

    Attributes:
        label: what the result is of ("drafts", a method's name), for log and plan; no part of the key.
    """

    name: ClassVar[str]
    # Full dotted paths in `node()` of what cannot change the result: they are no part of the key.
    exempt: ClassVar[tuple[str, ...]] = ()
    # Modules that the work runs without importing them: a worker started by its name, say. The code hash covers them.
    runs: ClassVar[tuple[str, ...]] = ()
    # Whether it trains a policy: it leaves `policy/` and `training.jsonl`, and its label is the policy's name.
    trains: ClassVar[bool] = False

    label: str = ""

    def node(self) -> dict[str, Any]:
        """The part of the config that the result depends on, as it is stored in the manifest."""
        return {name: value for name, value in self._parts() if not _entries(name, value)}

    def inputs(self) -> dict[str, Entry]:
        """The results of other stages that this one reads."""
        found: dict[str, Entry] = {}
        for name, value in self._parts():
            found |= _entries(name, value)
        return found

    def exempt_paths(self) -> tuple[str, ...]:
        """What of the node is no part of the key: `exempt`, and what the classes that it names list in `not_in_key`."""
        nodes = {name: value for name, value in self._parts() if not _entries(name, value)}
        listed = (
            ".".join((*path, name))
            for path, node in targets_in(nodes)
            for name in declared(node["_target_"], "not_in_key")
        )
        return (*self.exempt, *listed)

    def work(self, context: "Context", folder: Path) -> Mapping[str, Any]:
        """Make the result in `folder`, which may hold what an earlier start has left. Returns counts for people."""
        raise NotImplementedError

    @property
    def called(self) -> str:
        """The stage and what it is of, as people read it: "render sft"."""
        return f"{self.name} {self.label}".rstrip()

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "label" and value is not None:
                yield field.name, value


def _entries(name: str, value: Any) -> dict[str, Entry]:
    """The store entries of a field, by the names under which the manifest keeps them."""
    if isinstance(value, Entry):
        return {name: value}
    if isinstance(value, Mapping) and value and all(isinstance(one, Entry) for one in value.values()):
        return dict(value)
    if isinstance(value, Sequence) and value and all(isinstance(one, Entry) for one in value):
        return numbered(name, value)
    return {}
