"""What `vpo export` is asked for: a trained policy in the store, and what is known of how it came about."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import UserError
from vpo.store import Entry, read_manifest

PREFERRED = ("dpo", "grpo", "sft")  # which policy is meant where none is named: the one that comes last in training


@dataclass(frozen=True)
class Source:
    """A trained policy and its history.

    Attributes:
        policy: its name in the run ("sft", "dpo", ...).
        entry: the store's result that holds it, in `policy/`.
        run: the run's folder; None where a result of the store was named.
        results: the content of the run's results.json, or {}.
        config: the run's resolved config, without secrets, or {}.
    """

    policy: str
    entry: Entry
    run: Path | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of weights and tokenizer."""
        return self.entry.folder / "policy"

    @property
    def name(self) -> str:
        """A short name that a Hydra override takes without quotes: `<experiment>-<policy>-<hash>`."""
        if self.run is None:
            return f"{self.policy}-{self.entry.key[:8]}"
        experiment = self.results.get("run", {}).get("experiment", "run")
        return f"{experiment}-{self.policy}-{self.run.resolve().name.rpartition('-')[2]}"


def find_source(place: Path, policy: str | None, store: Path | None) -> Source:
    """The policy that a run folder, or a folder of the store, holds.

    Args:
        place: `runs/<experiment>/<run>`, or `store/<stage>/<key>`.
        policy: which one; None for the last one of the training.
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
    results = _read_results(place / "results.json")
    root = store or Path(results["run"]["store"])
    if not root.is_dir():
        raise UserError(f"{place}: its store {root} is gone; set paths.store to where it lies now")
    policies = policies_of(results["run"]["entries"], root)
    if not policies:
        raise UserError(f"{place}: the run trained no policy that is still in {root}; start it again to have it made")
    chosen = policy or next((name for name in PREFERRED if name in policies), min(policies))
    if chosen not in policies:
        raise UserError(f"{place}: no policy is called {chosen}; choose one of {', '.join(sorted(policies))}")
    config = (
        yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8")) if (place / "config.yaml").is_file() else {}
    )
    return Source(chosen, policies[chosen], place, results, config)


def policies_of(names: Iterable[str], store: Path) -> dict[str, Entry]:
    """The trained policies among a run's results ("stage/key"), by name.

    Preference training names its rounds as the pipeline does: `dpo_1`, `dpo_2`, ..., and `dpo` for the last. Which round a
    result is stands in no label (one run's last round is another's first), but each has the one before in its history.
    """
    entries = [_entry(store / name) for name in names]
    trained = [one for one in entries if one.stage != "start" and one.done and (one.folder / "policy").is_dir()]
    rounds = sorted((one for one in trained if one.stage == "dpo"), key=lambda one: len(history(one)))
    found = {label_of(one): one for one in trained if one.stage != "dpo"}
    if len(rounds) > 1:
        found |= {f"dpo_{number}": one for number, one in enumerate(rounds, 1)}
    return found | ({"dpo": rounds[-1]} if rounds else {})


def label_of(entry: Entry) -> str:
    """What the pipeline calls a trained policy; two policies may be results of one stage (sft, sft_more)."""
    job = entry.folder / "stage.yaml"
    return (
        str(yaml.safe_load(job.read_text(encoding="utf-8")).get("label", entry.stage)) if job.is_file() else entry.stage
    )


def history(entry: Entry) -> list[tuple[Entry, Mapping[str, Any]]]:
    """The result and all that it was made from, with their manifests, inputs first; {} for what was pruned since."""
    told: dict[Path, tuple[Entry, Mapping[str, Any]]] = {}

    def tell(one: Entry) -> None:
        if one.folder in told:
            return
        manifest = read_manifest(one.folder) if one.done else {}
        for name in manifest.get("inputs", {}).values():
            tell(_entry(one.folder.parent.parent / name))
        told[one.folder] = (one, manifest)

    tell(entry)
    return list(told.values())


def _of_entry(folder: Path, policy: str | None) -> Source:
    entry = _entry(folder)
    if not (folder / "policy" / "template.txt").is_file():
        raise UserError(
            f"{folder}: holds no trained policy; give a result of a training, such as store/dpo/<key>, or a run folder"
        )
    if policy not in (None, label_of(entry)):
        raise UserError(f"{folder}: holds the policy {label_of(entry)}, not {policy}; leave policy= out")
    return Source(label_of(entry), entry)


def _entry(folder: Path) -> Entry:
    return Entry(folder.parent.name, folder.name, folder)


def _read_results(path: Path) -> Mapping[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        _ = results["methods"], results["run"]["store"], results["run"]["entries"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); start the run again, it is soon done") from error
    return results


def _no_results(place: Path) -> str:
    """Why a folder without results.json cannot be exported: a run under way, or no run at all."""
    if not (place / "entries.json").is_file():
        return f"{place}: is no run folder; {_runs_near(place / 'x')}"
    trained = ""
    try:
        config = yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8"))
        policies = policies_of(
            json.loads((place / "entries.json").read_text(encoding="utf-8")), Path(config["paths"]["store"])
        )
        trained = ", ".join(f"{name} is {entry.folder}" for name, entry in sorted(policies.items()))
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
