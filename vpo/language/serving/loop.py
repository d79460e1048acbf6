"""An event loop in a thread of its own, so that code without one can wait for coroutines, in a notebook too."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")
LOOK = 0.5  # seconds between two looks: on Windows a wait without an end cannot be interrupted
LEAVE = 5.0  # seconds that cancelled work has to end


class BackgroundLoop:
    """Runs coroutines; the thread starts with the first one and ends with `close`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Its result. What interrupts the wait (Ctrl-C) cancels the coroutine and goes on once that has ended."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="vpo-server", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            while True:
                try:
                    return future.result(timeout=LOOK)
                except NotYet:
                    if future.done():  # the coroutine's own
                        raise
        except BaseException:
            if not future.done():
                future.cancel()
                self._drain()
            raise

    def close(self) -> None:
        """End the thread, and what may still run in it. A second call does nothing."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        with suppress(NotYet, CancelledError):  # in the loop's own thread: here another loop may run, as in a notebook
            asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=LEAVE)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(timeout=LEAVE)
        if not self._thread.is_alive():
            loop.close()

    def _drain(self) -> None:
        """Wait until cancelled tasks have ended, so that what they hold is let go."""
        assert self._loop is not None

        async def others() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            if rest:
                await asyncio.wait(rest, timeout=LEAVE)

        with suppress(NotYet, CancelledError):
            asyncio.run_coroutine_threadsafe(others(), self._loop).result(timeout=LEAVE)
