"""Signals: what a run does with them, how it passes them on to its training, and what a rank does with them.

    SIGUSR1            a training saves at the end of its step and goes on; elsewhere nothing is left to save
    SIGTERM, SIGINT    a training saves at the end of its step and leaves, and the run ends; elsewhere the run ends at once
    one of these again, a second later or more, ends the training without waiting for its step

Slurm, a shell and a terminal signal the run, or all processes of its group; `timeout` does both, within microseconds. So the
run passes on what it receives, a rank may receive a signal twice, and a repeat within a second is not a second request.

Windows has neither SIGUSR1 nor signal masks, and a signal sent to a process ends it; a Ctrl-C in a console comes to all its
processes by itself, so there nothing is passed on.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SAVE = getattr(signal, "SIGUSR1", None)
LEAVE = (signal.SIGTERM, signal.SIGINT)
ALL = LEAVE if SAVE is None else (SAVE, *LEAVE)
ONE_REQUEST = 1.0  # seconds; repeats within them count as one request
EXIT_SAVED = 128 + signal.SIGTERM  # exit code of a rank that ended on request, after all ranks have saved together


def handle_signals_outside_training() -> None:
    """Ignore SIGUSR1, and end at SIGTERM at once: what is done is stored item by item, as after a kill at any moment."""
    if _in_main_thread():
        if SAVE is not None:
            signal.signal(
                SAVE, lambda number, frame: log.info("SIGUSR1: no training runs; what is done is stored already")
            )
        signal.signal(signal.SIGTERM, _end_at_once)


def _in_main_thread() -> bool:
    """Python hands signals to the main thread alone."""
    return threading.current_thread() is threading.main_thread()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Raising instead would wait for the pool's workers to finish what they are at; they leave by themselves."""
    log.error("vpo: ended by %s; the same command goes on from here", signal.Signals(number).name)
    os._exit(128 + number)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block all signals. A rank that starts meanwhile inherits that, and unblocks them when it has handlers (`Requests`)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_save() -> None:
    """Ignore SIGUSR1, which Slurm sends to all processes of a job, in a process that trains nothing."""
    if SAVE is not None:
        signal.signal(SAVE, signal.SIG_IGN)


class SignalRelay:
    """A context that collects the signals sent to this process, which `pass_on` sends to the ranks.

    A handler that raised could do so between a rank's start and the list that it belongs to. In another thread than the main
    one it collects nothing. What was ignored before (`nohup`, `trap ''`) stays ignored.

    Attributes:
        ended_by: the signal that requested the ranks to end, if one did.
    """

    def __init__(self) -> None:
        self.ended_by: int | None = None
        self._received: list[tuple[int, float]] = []  # with the second in which it came
        self._asked_at = 0.0
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "SignalRelay":
        if _in_main_thread():
            for number in ALL:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.pass_on([])  # what came after the last rank had left still ends the run

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append((number, time.monotonic()))

    def pass_on(self, ranks: Sequence[subprocess.Popen[bytes]]) -> None:
        """Send the ranks what this process received since the last call."""
        while self._received:
            number, came_at = self._received.pop(0)
            if number == SAVE:
                log.info("SIGUSR1: the training saves at the end of its step and goes on")
                _send(ranks, SAVE)
            elif self.ended_by is None:
                self.ended_by, self._asked_at = number, came_at
                log.info("%s: the training saves at the end of its step and leaves", signal.Signals(number).name)
                if os.name != "nt":
                    _send(ranks, signal.SIGTERM)
            elif came_at - self._asked_at >= ONE_REQUEST:
                for rank in ranks:
                    rank.kill()


def _send(ranks: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for rank in ranks:
        rank.send_signal(number)  # nothing, to one that has left


class Requests:
    """What signals request of this rank; read at the end of each step.

    Before the training has begun nothing could be saved: SIGUSR1 is ignored then, and the others end the process as if it
    had no handlers. After its last step the policy is being written, which is not interrupted: to end at once, send SIGKILL.
    """

    def __init__(self) -> None:
        self._training = self._save = self._leave = False

    def listen(self, training: bool) -> None:
        """Replace the handlers of all signals, and unblock those that were blocked at the start of the process."""
        self._training, self._save, self._leave = training, False, False
        for number in ALL:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)

    def take(self) -> tuple[bool, bool]:
        """Whether to save, and whether to end then; a request to end remains, one to save is cleared."""
        save, self._save = self._save, False
        return save or self._leave, self._leave

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == SAVE:
            self._save = self._training
        elif self._training:
            self._leave = True
        else:
            exit_by_signal(number)


def exit_by_signal(number: int) -> None:
    """End this process as the signal does by default; the exit code then shows that nothing was saved."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


REQUESTS = Requests()  # of this process: it has one set of handlers
