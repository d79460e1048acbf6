"""The local record of a run, and its mirrors: CSV files and Weights & Biases.

The run folder is the truth. A mirror reads nothing but the folder, so it can be made at any time, again after a
failure, or on another machine: `WandbLogger(...).mirror(folder)`. What a folder holds:

    config.yaml        the resolved config, without secrets
    results.json       means and intervals by method and metric; the evaluators' cards; what may vary between equal runs under "run"
    items.jsonl        one line a (query, method): prompt, clip, metrics, what judges and asked models answered, and what failed
    training/*.jsonl   the metrics of every trained policy, one line a step; below prompts/, its greedy prompts on the way
    table.md ...       the results table, in Markdown, LaTeX, CSV and PNG
    curation/          with curation=...: counts after each rule, examples of what was dropped, lengths (report.md, .json, .png)
    added/*.json       measurements that were made outside of the run: by VBench's own code, by people (`vpo evaluate import`, `human`)
    spending.jsonl     what was asked of language models' servers, over all starts, and what it cost
    contact_sheet.png, curves.png, log.txt
    rewards.png        the rewards, and a held-out metric beside them, against the prompts' length and against motion
"""

import filecmp
import logging
import shutil
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from vpo.errors import Terminated, UserError
from vpo.results.pictures import ContactRow, contact_sheet, training_curves
from vpo.results.reasons import reason_lines
from vpo.results.reward_plots import reward_plots
from vpo.storage.jsonio import dumps, write_whole
from vpo.storage.names import file_name
from vpo.storage.redact import RedactedFormatter, redact
from vpo.storage.rows import whole_lines, write_rows
from vpo.tables.formats import to_text
from vpo.tables.run_tables import run_tables, write

log = logging.getLogger(__name__)


class RunRecord:
    """The folder of one run. As a context it keeps `log.txt` too: what the package logs, and why a run ended early."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handler: logging.Handler | None = None

    def __enter__(self) -> "RunRecord":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._handler = logging.FileHandler(self.folder / "log.txt", encoding="utf-8")
            self._handler.handleError = lambda record: None  # whatever was being written reports a full disk, once
        except OSError as error:
            raise UserError(
                f"{self.folder}: {error.strerror}; set paths.runs to a folder that can be written"
            ) from error
        self._handler.setLevel(logging.INFO)
        self._handler.setFormatter(RedactedFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        package = logging.getLogger("vpo")
        package.addHandler(self._handler)
        if package.getEffectiveLevel() > logging.INFO:
            package.setLevel(logging.INFO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is None:
            return
        if error is not None:
            expected = isinstance(error, UserError | Terminated | KeyboardInterrupt)
            lines = [str(error) or kind.__name__] if expected else traceback.format_exception(kind, error, trace)
            self._note(logging.ERROR, "ended early: " + "".join(lines).strip())
        logging.getLogger("vpo").removeHandler(self._handler)
        self._handler.close()
        self._handler = None

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml; values of keys that name a secret become '***'."""
        text = yaml.safe_dump(redact(config), sort_keys=False, allow_unicode=True, width=120)
        self._write("config.yaml", text)

    def write_entries(self, names: Sequence[str]) -> None:
        """Write entries.json: the store's results that this run used or has asked for so far."""
        self._write("entries.json", dumps(list(names)))

    def keep_training(self, training: Mapping[str, Path]) -> None:
        """Copy the metrics of policies that are trained, by name, before the run is finished."""
        try:
            self._copy_training(training)
        except OSError as error:
            raise UserError(f"{self.folder}: {error.strerror}; make room or set paths.runs") from error

    def keep_curation(self, folder: Path) -> None:
        """Copy the report on which queries are used and which were dropped, as soon as it is there; log where it lies."""
        kept = self.folder / "curation"
        try:
            if not (kept / "report.json").exists() or not filecmp.cmp(
                folder / "report.json", kept / "report.json", False
            ):
                kept.mkdir(exist_ok=True)
                for name in ("report.md", "lengths.png", "report.json"):
                    shutil.copyfile(folder / name, kept / name)
                log.info("which queries are used, which were dropped and why: %s", kept / "report.md")
        except OSError as error:
            raise UserError(f"{kept}: {error.strerror}; make room or set paths.runs") from error

    def keep_report(self, source: Path, label: str) -> None:
        """Copy what a judge reports beside its verdicts, such as agreement.json, to `<its name>/<label>.json`."""
        kept = self.folder / source.stem / f"{file_name(label.replace(' ', '_'))}.json"
        try:
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, kept)
        except OSError as error:
            raise UserError(f"{kept}: {error.strerror}; make room or set paths.runs") from error

    def finish(
        self,
        results: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        rows: Sequence[ContactRow],
        training: Mapping[str, Path],
        loggers: Sequence[Any],
        *,
        labels: Mapping[str, str] | None = None,
        footer: str = "Four frames of each clip, time to the right.",
    ) -> None:
        """Write everything about a finished run, draw its pictures, call its mirrors and log the table.

        Args:
            results: the content of results.json.
            items: one dict per (query, method), for items.jsonl.
            rows: the queries of the contact sheet with each method's clip.
            training: the metrics of each trained policy, by its name.
            loggers: the mirrors: objects with `mirror(folder)`.
            labels: how methods are called in print.
            footer: the line below the contact sheet; it should say what drew the clips.
        """
        try:
            self.write_results(results, items, labels)
            self._copy_training(training)
            self._note_warnings(training)
            title = "The same query under each method"
            sheet = self.folder / "contact_sheet.png"
            contact_sheet(rows, list(results["methods"]), sheet, title=title, footer=footer, labels=labels)
            training_curves(self.folder / "training", self.folder / "curves.png")
            reward_plots(results, items, self.folder / "rewards.png", labels)
        except OSError as error:
            raise UserError(
                f"{self.folder}: {error.strerror or error} while writing the results; make room or set paths.runs, "
                "then start again: what was finished is kept"
            ) from error
        self.show(results, loggers, labels, items)

    def write_results(
        self, results: Mapping[str, Any], items: Sequence[Mapping[str, Any]], labels: Mapping[str, str] | None = None
    ) -> None:
        """Write results.json, items.jsonl and the tables; see `finish`. Raises OSError where the disk takes no more."""
        self._write("results.json", dumps(redact(results), indent=1) + "\n")
        write_rows(self.folder / "items.jsonl", items)
        write(run_tables(results, labels), self.folder, "table")

    def show(
        self,
        results: Mapping[str, Any],
        loggers: Sequence[Any],
        labels: Mapping[str, str] | None = None,
        items: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Call the mirrors, and log the table and why measurements of the items failed."""
        for logger in loggers:
            logger.mirror(self.folder)
        reasons = "".join(f"{line}\n" for line in reason_lines(items))
        table = to_text(run_tables(results, labels)[0])
        log.info("\n%s%s\nEverything about this run: %s", table, reasons, self.folder)

    def _copy_training(self, training: Mapping[str, Path]) -> None:
        folder = self.folder / "training"
        folder.mkdir(exist_ok=True)
        for policy, source in training.items():
            for file, kept in ((source, folder), (source.with_name("prompts.jsonl"), folder / "prompts")):
                if file.exists():
                    kept.mkdir(exist_ok=True)
                    shutil.copyfile(file, kept / f"{policy}.jsonl")

    def _note_warnings(self, training: Mapping[str, Path]) -> None:
        """Write the warnings of each training to log.txt too, whichever start or process printed them."""
        for policy, source in training.items():
            for line in whole_lines(source.with_name("warnings.jsonl")):
                self._note(logging.WARNING, f"{policy}, step {line['step']}: {line['warning']}")

    def _note(self, level: int, text: str) -> None:
        """Write to log.txt alone."""
        if self._handler is not None:
            self._handler.handle(logging.LogRecord(__name__, level, __file__, 0, text, (), None))

    def _write(self, name: str, text: str) -> None:
        """Write a file whole or not at all."""
        try:
            write_whole(self.folder / name, text)  # several shards of a run share its folder
        except OSError as error:
            raise UserError(f"{self.folder / name}: {error.strerror}; make room or set paths.runs") from error
