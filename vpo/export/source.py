"""The source of `vpo export`: a trained policy in the store, and what is known of its history."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import UserError
from vpo.results.lineage import entry_at
from vpo.results.schema import RunFacts, facts_of, read_results
from vpo.storage.store import Entry


@dataclass(frozen=True)
class Source:
    """A trained policy and its history.

    Attributes:
        policy: its name in the run ("sft", "dpo", ...).
        entry: the store's result that holds it, in `policy/`.
        run: the run's folder; None where a result of the store was named.
        results: the content of the run's results.json, or {}.
        facts: what it says of the run; None without one.
        config: the run's resolved config, without secrets, or {}.
    """

    policy: str
    entry: Entry
    run: Path | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    facts: RunFacts | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of weights and tokenizer."""
        return self.entry.folder / "policy"

    @property
    def name(self) -> str:
        """A short name that a Hydra override takes without quotes: `<experiment>-<policy>-<hash>`."""
        if self.run is None or self.facts is None:
            return f"{self.policy}-{self.entry.key[:8]}"
        return f"{self.facts.experiment}-{self.policy}-{self.run.resolve().name.rpartition('-')[2]}"


def find_source(place: Path, policy: str | None, store: Path | None) -> Source:
    """The policy that a run folder, or a folder of the store, holds.

    Args:
        place: `runs/<experiment>/<run>`, or `store/<stage>/<key>`.
        policy: which one; None for the one that the run is about.
        store: where the run's results lie now, if not where the run left them.

    Raises:
        UserError: there is no such folder, the run is unfinished, the policy is unknown or no longer stored.
    """
    if (place / "manifest.json").is_file():
        return _of_entry(place.resolve(), policy)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; {_runs_near(place)}")
    if not (place / "results.json").is_file():
        raise UserError(_no_results(place))
    results = read_results(place / "results.json")
    facts = facts_of(results)
    if facts is None:
        raise UserError(
            f"{place / 'results.json'}: it does not say which stored policy each row is, as older versions wrote it; give the run's "
            "command again (what is stored is found), or a folder of the store, such as store/dpo/<key>"
        )
    root = store or Path(facts.store)
    if not root.is_dir():
        raise UserError(f"{place}: its store {root} is gone; set paths.store to where it lies now")
    chosen = policy or facts.policy
    entry = _policy_in(root, place, facts, chosen)
    path = place / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Source(chosen, entry, place, results, facts, config)


def _policy_in(root: Path, place: Path, facts: RunFacts, chosen: str | None) -> Entry:
    """The stored result that holds a policy of the run. Raises UserError where it trained none of this name or it is pruned."""
    trained = {name: entry_at(root / one.entry) for name, one in facts.policies.items() if one.training}
    if chosen is None or not trained:
        raise UserError(f"{place}: the run trained no policy")
    stored = {name: entry for name, entry in trained.items() if is_trained_policy(entry)}
    others = ", ".join(sorted(stored)) or "none"
    if chosen not in trained:
        raise UserError(f"{place}: no policy is called {chosen}; choose one of {others}")
    if chosen not in stored:
        raise UserError(
            f"{place}: its policy {chosen} is no longer in {root}; give the run's command again to have it made, or choose one that "
            f"is stored ({others})"
        )
    return stored[chosen]


def is_trained_policy(entry: Entry) -> bool:
    """Whether it is a finished training: its policy has its template beside it, as the start has not."""
    return entry.done and (entry.folder / "policy" / "template.txt").is_file()


def label_of(entry: Entry) -> str:
    """What the pipeline called a policy when it was trained; two policies may be results of one stage (sft, sft_more)."""
    job = entry.folder / "stage.yaml"
    return (
        str(yaml.safe_load(job.read_text(encoding="utf-8")).get("label", entry.stage)) if job.is_file() else entry.stage
    )


def _of_entry(folder: Path, policy: str | None) -> Source:
    entry = entry_at(folder)
    if not is_trained_policy(entry):
        raise UserError(
            f"{folder}: holds no trained policy; give a result of a training, such as store/dpo/<key>, or a run folder"
        )
    if policy not in (None, label_of(entry)):
        raise UserError(f"{folder}: holds the policy {label_of(entry)}, not {policy}; leave policy= out")
    return Source(label_of(entry), entry)


def _no_results(place: Path) -> str:
    """Why a folder without results.json cannot be exported: a run under way, or no run at all."""
    if not (place / "entries.json").is_file():
        return f"{place}: is no run folder; {_runs_near(place / 'x')}"
    trained = ""
    try:
        config = yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8"))
        names = json.loads((place / "entries.json").read_text(encoding="utf-8"))
        entries = [entry_at(Path(config["paths"]["store"]) / name) for name in names]
        found = [(label_of(entry), entry.folder) for entry in entries if is_trained_policy(entry)]
        trained = ", ".join(f"{label} is {folder}" for label, folder in sorted(found))
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        pass  # a run that has only just begun; the message goes without the hint
    hint = f", or export what is trained so far by its folder ({trained})" if trained else ""
    return f"{place}: the run is not finished (no results.json); the same `vpo run` goes on from there{hint}"


def _runs_near(place: Path) -> str:
    """The finished runs around a path, the most alike first."""
    around = next((one for one in place.parents if one.is_dir()), Path())
    runs = sorted(
        str(path.parent) for pattern in ("*/results.json", "*/*/results.json") for path in around.glob(pattern)
    )
    near = difflib.get_close_matches(str(place), runs, n=3, cutoff=0)
    return f"finished runs in {around}: {', '.join(near) or 'none'}"
