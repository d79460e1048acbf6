"""Weights & Biases as a mirror of a run folder: online when logged in, else offline, and never in the way of a run."""

import hashlib
import json
import logging
import netrc
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from vpo.errors import UserError
from vpo.results.metrics import Metrics
from vpo.storage.jsonio import write_json
from vpo.storage.rows import whole_lines
from vpo.storage.store import canonical

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
ASKED = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "run": "online",
    "dryrun": "offline",
    "shared": "online",
}
MARKER = "wandb.json"  # in the run folder: what was mirrored, where to, and how much of it is online
REACHED_WITHIN = 20.0  # seconds, after which a machine counts as one without a network


class WandbLogger:
    """Mirrors run folders to Weights & Biases: config, means, training curves and greedy prompts, prompts with clips, the sheet.

    The run's id derives from its folder's name, which names its config, so mirroring again goes to the same run. Runs
    are grouped by experiment. Nothing is asked and nothing raised: a mirror that fails is one warning, and can be made
    later.
    """

    def __init__(self, project: str, entity: str | None, mode: str, clips: int) -> None:
        """`mode` is one of MODES; `clips` is the number of queries whose clips go into the table of prompts."""
        if mode not in MODES:
            raise UserError(f"logger.wandb.mode={mode} is not a mode; choose one of {', '.join(MODES)}")
        self.project, self.entity, self.mode, self.clips = project, entity, mode, clips

    def mirror(self, folder: Path) -> None:
        """Bring W&B up to date with the folder; do nothing where it is. Running and finished runs will do.

        Where W&B cannot be reached or refuses, an offline copy is kept, and the next mirror tries to go online again.
        """
        mode = self._mode()
        failures: list[str] = []
        for attempt in {"online": ("online", "offline"), "offline": ("offline",), "disabled": ()}[mode]:
            try:
                where = self._bring_up_to_date(folder, attempt)
            except Exception as error:  # whatever goes wrong in someone else's service must not cost a finished run
                failures.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
            else:
                if failures:
                    log.warning("W&B: not mirrored online (%s); %s", failures[0], where)
                else:
                    log.info("W&B: %s", where)
                return
        if failures:
            log.warning("W&B: not mirrored (%s); the run folder holds everything", failures[0])

    def _bring_up_to_date(self, folder: Path, mode: str) -> str:
        """Mirror the folder in one mode; returns a line on where the mirror is."""
        start = time.monotonic()
        state = {"project": self.project, "entity": self.entity, "mode": mode, "content": _content(folder)}
        marker = folder / MARKER
        before = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {}
        sync = f"`wandb sync {folder}/wandb/offline-run-*` uploads the offline copy"
        if state.items() <= before.items():
            return "already up to date" + (f"; {sync}" if mode == "offline" else "")
        uploaded = before.get("uploaded", {})
        same_run = mode == "online" and all(uploaded.get(key) == state[key] for key in ("project", "entity"))
        with _one_copy(folder, mode), _files_with_the_run(folder, mode):
            address, lines = self._replay(folder, mode, uploaded["lines"] if same_run else {})
        if mode == "online":
            uploaded = {"project": self.project, "entity": self.entity, "lines": lines}
        record = {**state, "id": run_id(folder), "address": address, "uploaded": uploaded}
        write_json(marker, record, indent=1)
        return f"mirrored in {time.monotonic() - start:.1f} s ({address or sync})"

    def _mode(self) -> str:
        """The mode for this machine: WANDB_MODE where the user set it, and never one that would ask for a login."""
        mode = self.mode
        if mode == "auto":
            asked = os.environ.get("WANDB_MODE") or "online"
            mode = ASKED.get(asked, "offline")  # never upload because of a typing error
            if asked not in ASKED:
                log.warning("W&B: WANDB_MODE=%s is not one of %s; taken as offline", asked, ", ".join(ASKED))
        if mode == "online" and not logged_in():
            if self.mode == "online":
                log.warning("W&B: not logged in, so the mirror stays offline; `wandb login` once, then run again")
            return "offline"
        return mode

    def _replay(self, folder: Path, mode: str, done: Mapping[str, int]) -> tuple[str | None, dict[str, int]]:
        """Write the folder into one W&B run, without the lines of each policy's figures that it has already.

        Returns:
            The run's address where it has one, and how many lines of each policy it holds now.
        """
        import wandb

        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True,
            init_timeout=REACHED_WITHIN, finish_timeout=600, finish_timeout_raises=True,
        )  # fmt: skip
        facts = _results(folder).get("run", {})
        with _service(mode):
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=folder.parent.name,
                name=folder.name.rpartition("-")[0] or folder.name,
                job_type="run",
                tags=[one[:64] for one in facts.get("overrides", [])],
                id=run_id(folder),
                resume="allow",
                reinit="create_new",  # a notebook may have a run of its own open
                mode=mode,
                dir=folder,
                config=yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")),
                settings=quiet,
            )
            try:
                lines = _log_curves(run, folder, done)
                _log_greedy_prompts(run, folder)
                _log_means(run, folder)
                self._log_prompts(run, folder)
                if (folder / "contact_sheet.png").exists():
                    run.log({"contact_sheet": wandb.Image(str(folder / "contact_sheet.png"))})
                return (run.url if mode == "online" else None), lines
            finally:
                run.finish()

    def _log_prompts(self, run: Any, folder: Path) -> None:
        """One table row a (query, method), with the clips of the first queries."""
        import wandb

        items = whole_lines(folder / "items.jsonl")
        if not items:
            return
        measured = dict.fromkeys(name for item in items for name in item["metrics"])
        metrics = Metrics(_results(folder).get("evaluators", {})).in_order(measured)
        with_clips = set(list(dict.fromkeys(item["query_id"] for item in items))[: self.clips])
        table = wandb.Table(
            columns=["query_id", "query", "method", "prompt", "clip", "failed", *metrics], allow_mixed_types=True
        )
        for item in items:
            path = folder / item["clip"] if item["clip"] and item["query_id"] in with_clips else None
            clip = wandb.Video(str(path), format="mp4") if path is not None and path.exists() else None
            numbers = [item["metrics"].get(name) for name in metrics]
            failed = ", ".join(item.get("failures", {})) or None
            table.add_data(item["query_id"], item["query"], item["method"], item["prompt"], clip, failed, *numbers)
        run.log({"prompts": table})


def run_id(folder: Path) -> str:
    """The W&B id of a run folder: the same for the same `<experiment>/<overrides>-<hash>`, wherever it lies."""
    return hashlib.sha256("/".join(folder.absolute().parts[-2:]).encode()).hexdigest()[:16]


def logged_in() -> bool:
    """Whether W&B would find a key without asking. The key itself is neither kept nor shown."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _log_curves(run: Any, folder: Path, done: Mapping[str, int]) -> dict[str, int]:
    """Log every policy's figures against that policy's own optimizer step; returns how many lines each has."""
    lines = {}
    for file in sorted((folder / "training").glob("*.jsonl")):
        prefix = f"training/{file.stem}"
        run.define_metric(f"{prefix}/step", hidden=True)
        run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")
        figures_of_steps = whole_lines(file)
        for figures in figures_of_steps[done.get(file.stem, 0) :]:
            run.log({f"{prefix}/{name}": value for name, value in figures.items() if value is not None})
        lines[file.stem] = len(figures_of_steps)
    return lines


def _log_greedy_prompts(run: Any, folder: Path) -> None:
    """One table a policy: what it wrote for the same few queries while it was trained."""
    import wandb

    for file in sorted((folder / "training" / "prompts").glob("*.jsonl")):
        lines = whole_lines(file)
        if lines:
            columns = list(lines[0])
            table = wandb.Table(columns=columns, data=[[line[name] for name in columns] for line in lines])
            run.log({f"greedy_prompts/{file.stem}": table})  # below training/ it would be given a step


def _log_means(run: Any, folder: Path) -> None:
    """The means as the run's summary: `dpo/aligned`, with the half width of the interval as `dpo/aligned_ci95`, and
    `dpo/aligned_failed` where measurements failed. The evaluators' cards, which say unit and direction, join its config.
    """
    results = _results(folder)
    if "evaluators" in results:
        run.config.update({"cards": results["evaluators"]})
    for method, metrics in results.get("methods", {}).items():
        for name, result in metrics.items():
            run.summary[f"{method}/{name}"] = result["mean"]
            run.summary[f"{method}/{name}_ci95"] = result["ci95"]
            if result["n_failed"]:
                run.summary[f"{method}/{name}_failed"] = result["n_failed"]


def _results(folder: Path) -> Mapping[str, Any]:
    """The content of results.json; empty while the run has none."""
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _content(folder: Path) -> str:
    """A hash of what would be mirrored. Times and paths are left out: they change when nothing else does."""
    results = {key: value for key, value in _results(folder).items() if key != "run"}
    digest = hashlib.sha256(canonical(results).encode())
    for file in [folder / "config.yaml", folder / "items.jsonl", *sorted((folder / "training").rglob("*.jsonl"))]:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:16]


@contextmanager
def _service(mode: str) -> Iterator[None]:
    """W&B's service process, ended where the next call needs that, unless a notebook has a run of its own open.

    `finish()` may come back before an offline run is on disk (seen with 0.31), and a run that failed keeps its id in use.
    """
    import wandb

    goes_on = False
    try:
        yield
        goes_on = mode == "online"
    finally:
        if not goes_on and wandb.run is None:
            wandb.teardown()


@contextmanager
def _one_copy(folder: Path, mode: str) -> Iterator[None]:
    """Replace our earlier offline copy by what the body writes, or, where that fails, keep it and remove the beginning.

    One is enough: each mirror is complete, and two would be synced on top of one another. A mirror online needs no copy, and one
    that failed leaves none.
    """
    earlier = _copies(folder, mode)
    try:
        yield
    except BaseException:
        _remove(_copies(folder, mode) - earlier)
        raise
    if mode == "offline" and _copies(folder, mode) - earlier:
        _remove(earlier)


def _copies(folder: Path, mode: str) -> set[Path]:
    """The folders of our mirrors in one mode, of which W&B numbers a second one in the same second, and those of their files."""
    if mode == "online":
        return {*(folder / "wandb").glob(f"run-*-{run_id(folder)}*")}
    return {*(folder / "wandb").glob(f"offline-run-*-{run_id(folder)}*"), *(folder / "wandb" / "data").glob("*")}


def _remove(folders: Iterable[Path]) -> None:
    for one in folders:
        shutil.rmtree(one, ignore_errors=True)


@contextmanager
def _files_with_the_run(folder: Path, mode: str) -> Iterator[None]:
    """Have W&B keep a table's clips in the run folder until they are uploaded; left alone, it takes the user's home.

    Each offline copy has a place of its own, so that the earlier one goes with its files. W&B reads WANDB_MODE even where it
    is told a mode, and refuses to start on one that it does not know.
    """
    own = str(time.time_ns()) if mode == "offline" else "online"
    told = {"WANDB_DATA_DIR": str((folder / "wandb" / "data" / own).absolute()), "WANDB_MODE": mode}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
