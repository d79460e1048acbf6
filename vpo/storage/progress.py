"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere; the log as plain lines."""

import logging
import sys
import time
from types import TracebackType

from vpo.storage.redact import RedactedFormatter

log = logging.getLogger(__name__)

PLAIN_SECONDS = 15.0  # how often a log file or a pipe gets a line


class Bar:
    """Progress over `total` items (None: nobody knows how many) of which `done` were finished by an earlier start.

    On a terminal tqdm draws it; otherwise a plain line is logged about every 15 seconds, so that a log stays readable.
    """

    def __init__(self, label: str, total: int | None, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._start, self._first, self._last = time.monotonic(), done, time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and (total is None or total > done):
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=f"  {label}", unit="", leave=False, dynamic_ncols=True)

    def advance(self, count: int = 1, **shown: float) -> None:
        """Count `count` more items as finished; `shown` are metrics to show beside the bar."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
            if shown:
                self._bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
        elif time.monotonic() - self._last > PLAIN_SECONDS:
            self._last = time.monotonic()
            rate = (self.done - self._first) / (self._last - self._start)
            values = "".join(f", {name} {value:.3g}" for name, value in shown.items())
            if self.total is None:
                log.info("  %s %d, %.1f/s%s", self.label, self.done, rate, values)
                return
            left = (self.total - self.done) / rate if rate else float("inf")
            log.info("  %s %d/%d, %.1f/s, %.0f s left%s", self.label, self.done, self.total, rate, left, values)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def log_to_console() -> None:
    """The package's log as plain lines on stderr, without secrets; in a sweep every job finds the handler of the first."""
    package = logging.getLogger("vpo")
    if not package.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(RedactedFormatter("%(message)s"))
        package.addHandler(handler)
        package.setLevel(logging.INFO)
        package.propagate = False
