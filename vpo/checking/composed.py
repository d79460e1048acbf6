"""A config that is ready to run, and the name of its run. Knows no Hydra."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpo.storage.jsonio import canonical
from vpo.storage.redact import redact
from vpo.storage.store import without
from vpo.targets import declared, targets_in

# Top-level keys that say where and how a run is made and shown, not what comes out; they do not name the run.
NOT_IN_RUN_NAME = ("paths", "logger", "executor", "recompute", "retry_failed", "stop_after", "shard", "build", "plan")


@dataclass(frozen=True)
class Composed:
    """A resolved and checked config, and where it comes from. `vpo.compose` makes one.

    Attributes:
        config: plain values.
        overrides: what differs from the default config, as it was typed.
        choices: by group, which of its files was chosen.
    """

    config: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        """The chosen experiment's name, or "default"."""
        return self.choices.get("experiment") or "default"

    @property
    def name(self) -> str:
        """`<experiment>/<overrides>-<hash>`: the same config finds its folder again."""
        idle = _without_effect(self.config)
        hidden = ("experiment=", *NOT_IN_RUN_NAME, *(f"{path}=" for path in idle))
        shown = [redact(one) for one in self.overrides if not one.lstrip("+").startswith(hidden)]
        slug = re.sub(r"[^A-Za-z0-9=.,_+-]+", "-", ",".join(shown)).strip("-")[:80] or "as-is"
        named = {key: value for key, value in without(self.config, idle).items() if key not in NOT_IN_RUN_NAME}
        digest = hashlib.sha256(canonical(redact(named, environment=False)).encode()).hexdigest()[:8]
        return f"{self.experiment}/{slug}-{digest}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.config["paths"]["runs"]) / self.name


def _without_effect(config: Mapping[str, Any]) -> list[str]:
    """The full paths of what the classes of a config say has no effect on results: how a server is asked, at what price."""
    return [
        ".".join((*path, name))
        for path, node in targets_in(config)
        for name in declared(node["_target_"], "not_in_key")
    ]
