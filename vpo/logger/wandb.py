"""Weights & Biases as a mirror of a run folder: online when logged in, else offline, and never in the way of a run."""

import hashlib
import json
import logging
import netrc
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from vpo.errors import UserError
from vpo.logger.wandb_content import PICTURES, results_in, scalars_of, table_of, values_of
from vpo.logger.wandb_files import media_in_run_folder, replacing_earlier_copy, run_id
from vpo.storage.jsonio import write_json
from vpo.storage.rows import whole_lines
from vpo.storage.store import canonical

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
MODE_OF_VARIABLE = {  # values of WANDB_MODE that W&B knows
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "run": "online",
    "dryrun": "offline",
    "shared": "online",
}
MARKER = "wandb.json"  # in the run folder: what was mirrored, where to, and how much of it is online
FORMAT = 2  # of what is mirrored: a folder that was mirrored in an older one is mirrored anew
INIT_TIMEOUT = 20.0  # seconds, after which a machine counts as one without a network


class WandbLogger:
    """Mirrors run folders to Weights & Biases: config, means, histograms, training curves, prompts with clips, pictures.

    The run's id derives from its folder's name, which names its config, so mirroring again goes to the same run. Runs
    are grouped by experiment. It never prompts and never raises: a mirror that fails is one warning, and can be made
    later.
    """

    def __init__(self, project: str, entity: str | None, mode: str, clips: int) -> None:
        """`mode` is one of MODES; `clips` is the number of queries whose clips go into the table of prompts."""
        if mode not in MODES:
            raise UserError(f"logger.wandb.mode={mode} is not a mode; choose one of {', '.join(MODES)}")
        self.project, self.entity, self.mode, self.clips = project, entity, mode, clips

    def mirror(self, folder: Path) -> None:
        """Bring W&B up to date with the folder; do nothing where it is. Running and finished runs will do.

        Where there is no connection to W&B, or it refuses the run, an offline copy is kept; the next mirror tries to go online
        again.
        """
        mode = self._mode()
        failures: list[str] = []
        for attempt in {"online": ("online", "offline"), "offline": ("offline",), "disabled": ()}[mode]:
            try:
                where = self._update(folder, attempt)
            except Exception as error:  # a finished run must not be lost to any failure of an external service
                failures.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
            else:
                if failures:
                    log.warning("W&B: not mirrored online (%s); %s", failures[0], where)
                else:
                    log.info("W&B: %s", where)
                return
        if failures:
            log.warning("W&B: not mirrored (%s); the run folder holds everything", failures[0])

    def _update(self, folder: Path, mode: str) -> str:
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
        with replacing_earlier_copy(folder, mode), media_in_run_folder(folder, mode):
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
            mode = MODE_OF_VARIABLE.get(asked, "offline")  # never upload because of a typing error
            if asked not in MODE_OF_VARIABLE:
                log.warning("W&B: WANDB_MODE=%s is not one of %s; taken as offline", asked, ", ".join(MODE_OF_VARIABLE))
        if mode == "online" and not logged_in():
            if self.mode == "online":
                log.warning("W&B: not logged in, so the mirror stays offline; `wandb login` once, then run again")
            return "offline"
        return mode

    def _replay(self, folder: Path, mode: str, done: Mapping[str, int]) -> tuple[str | None, dict[str, int]]:
        """Write the folder into one W&B run, without those lines of each policy's metrics that it has already.

        Returns:
            The run's address where it has one, and how many lines of each policy it holds now.
        """
        import wandb

        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True,
            init_timeout=INIT_TIMEOUT, finish_timeout=600, finish_timeout_raises=True,
        )  # fmt: skip
        results = results_in(folder)
        facts, cards = results.get("run", {}), {"cards": results["evaluators"]} if "evaluators" in results else {}
        with _service_ended_after(mode):
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
                config=yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) | cards,
                settings=quiet,
            )
            try:
                lines = _log_curves(run, folder, done)
                _log_greedy_prompts(run, folder)
                _log_measurements(run, folder, self.clips)
                return (run.url if mode == "online" else None), lines
            finally:
                run.finish()


def _log_measurements(run: Any, folder: Path, clips: int) -> None:
    """The means as the run's summary, histograms of the items, pictures, and one table of all queries.

    Everything is there by now, so that the table is built once.
    """
    import wandb

    results = results_in(folder)
    for name, value in scalars_of(results).items():
        run.summary[name] = value
    histograms = {name: wandb.Histogram(values) for name, values in values_of(folder).items()}
    if histograms:
        run.log(histograms)
    columns, rows = table_of(folder, clips)
    if rows:
        table = wandb.Table(columns=columns)  # typed by column: W&B shows clips and plots numbers by their type
        for row in rows:
            table.add_data(*(wandb.Video(str(one), format="mp4") if isinstance(one, Path) else one for one in row))
        run.log({"prompts": table})
    for picture in PICTURES:
        if (folder / f"{picture}.png").exists():
            run.log({picture: wandb.Image(str(folder / f"{picture}.png"))})


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
    """Log every policy's training metrics against that policy's own optimizer step; returns how many lines each has."""
    lines = {}
    for file in sorted((folder / "training").glob("*.jsonl")):
        prefix = f"training/{file.stem}"
        run.define_metric(f"{prefix}/step", hidden=True)
        run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")
        lines_of_policy = whole_lines(file)
        for metrics in lines_of_policy[done.get(file.stem, 0) :]:
            run.log({f"{prefix}/{name}": value for name, value in metrics.items() if value is not None})
        lines[file.stem] = len(lines_of_policy)
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


def _content(folder: Path) -> str:
    """A hash of what would be mirrored. Times and paths are left out: they change when nothing else does."""
    results = {key: value for key, value in results_in(folder).items() if key != "run"}
    digest = hashlib.sha256(f"{FORMAT} {canonical(results)}".encode())
    for file in [folder / "config.yaml", folder / "items.jsonl", *sorted((folder / "training").rglob("*.jsonl"))]:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:16]


@contextmanager
def _service_ended_after(mode: str) -> Iterator[None]:
    """W&B's service process, ended where the next call needs that, unless a notebook has a run of its own open.

    `finish()` may come back before an offline run is on disk (seen with 0.31), and a run that failed keeps its id in use.
    """
    import wandb

    keep = False
    try:
        yield
        keep = mode == "online"
    finally:
        if not keep and wandb.run is None:
            wandb.teardown()
