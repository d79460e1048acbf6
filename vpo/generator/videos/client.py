"""Gets the clips of requests from a server: how many jobs at once, when to look again, and what becomes of an error."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from vpo.errors import UserError
from vpo.generator.videos.api import Job, VideosApi, failure_of
from vpo.generator.videos.charges import Charges
from vpo.generator.videos.jobs import JobRecord, request_of
from vpo.language.serving.pace import Backoff, Pace
from vpo.language.serving.problems import Problem
from vpo.records import Failure
from vpo.video.clips import ClipError, VideoInfo, describe, set_aside

log = logging.getLogger(__name__)

LONGEST_WAIT = 600.0  # seconds; a server that asks to wait longer ends the run instead
LEAVE = 2.0  # seconds that the deletion of a job may take when the run is interrupted
MANY = 3  # failures in a row, as a multiple of the jobs at once, after which it is the server that is broken


@dataclass(frozen=True)
class Wanted:
    """One clip.

    Attributes:
        item: its id.
        fields: of the form.
        path: where the clip goes.
        frames, height, width, fps: that it must have; None where the server decides.
    """

    item: str
    fields: Mapping[str, str]
    path: Path
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None

    def mismatch(self, info: VideoInfo) -> str:
        """How the clip that came differs from what was asked for; empty where it does not."""
        asked = {"frames": self.frames, "height": self.height, "width": self.width}
        found = [
            f"{name} {getattr(info, name)}, not {value}"
            for name, value in asked.items()
            if value not in (None, getattr(info, name))
        ]
        if self.fps is not None and abs(info.fps - self.fps) > 0.01 * self.fps:
            found.append(f"fps {info.fps:.4g}, not {self.fps:g}")
        return ", ".join(found)


@dataclass
class Limits:
    """How a server is asked.

    Attributes:
        concurrency: jobs at once.
        timeout: seconds that a clip may take, from its first request to its file.
        max_retries: repetitions of a call that failed, and of a job that the server has forgotten.
        looks: waits between two looks at a job.
        backoff: waits before a failed call is repeated.
        pace: pauses all requests where the server asks for it.
    """

    concurrency: int
    timeout: float
    max_retries: int
    looks: Backoff
    backoff: Backoff = field(default_factory=Backoff)
    pace: Pace = field(default_factory=Pace)


class VideoClient:
    """Gets clips; of one event loop.

    Args:
        api: the server.
        limits: how it is asked.
        charges: what its jobs cost.
    """

    def __init__(self, api: VideosApi, limits: Limits, charges: Charges) -> None:
        self.api, self.limits, self.charges = api, limits, charges
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._random = Random()
        self._answered = False  # whether the server has ever made a job, or told of one
        self._failed = 0  # clips in a row that the server's troubles have cost
        self._keep_jobs = False  # whether a job that is given up stays with the server, for the next start

    async def clips(self, wanted: Sequence[Wanted], record: JobRecord) -> list[VideoInfo | Failure]:
        """What came for each.

        Where this is cancelled (Ctrl-C), the jobs under way are deleted at the server. Where the run ends by an error, they stay, and
        the next start asks for them.

        Raises:
            UserError: What concerns the whole run.
            OSError: A clip cannot be written.
        """
        self._keep_jobs = False
        tasks = [asyncio.create_task(self._clip(one, record)) for one in wanted]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            self._keep_jobs = any(one.exception() is not None for one in done)
        finally:  # one has failed, or all are given up
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if task.exception() is not None:
                task.result()  # raises
        return [task.result() for task in tasks]

    async def _clip(self, wanted: Wanted, record: JobRecord) -> VideoInfo | Failure:
        async with self._slots:
            request = request_of(wanted.fields)
            work = _Work(wanted, record, request, record.open_job(wanted.item, request))
            try:
                async with asyncio.timeout(self.limits.timeout):
                    outcome = await self._made(work)
            except TimeoutError:
                outcome = await self._too_late(work)
            except asyncio.CancelledError:
                await self._given_up(work)
                raise
        self._failed = self._failed + 1 if isinstance(outcome, Failure) and outcome.retryable else 0
        many = max(10, MANY * self.limits.concurrency)
        if self._failed >= many:  # of several that end at the same time each raises, and any of these is taken
            assert isinstance(outcome, Failure)
            raise UserError(
                f"generator: {self.api.endpoint.base_url} has failed {many} clips in a row, the last by {outcome.kind} "
                f"({outcome.detail}); look at its log, restart it, then start again: what came is kept"
            )
        return outcome

    async def _made(self, work: "_Work") -> VideoInfo | Failure:
        """Have one clip made, until it is here or cannot be had."""
        while True:
            if work.job is None:
                sent = await self._sent(work)
                if isinstance(sent, Failure):
                    return sent
            job = await self._watched(work)
            if isinstance(job, Failure):
                return job
            if job is not None:
                outcome = await self._fetched(work)
                if outcome is not None:
                    return outcome
            # The server has been restarted, and does not know the job any more.
            work.note("forgotten")
            work.job = None
            work.forgotten += 1
            if work.forgotten > self.limits.max_retries:
                return Failure(
                    "forgotten",
                    f"the server forgot {work.forgotten} jobs of this clip one after the other",
                    retryable=True,
                )

    async def _sent(self, work: "_Work") -> Job | Failure:
        """Ask for a job, until the server has made one."""
        repetitions = 0
        while True:
            await self.limits.pace.enter(0)
            ticket = self.charges.begin()
            work.note("sending")
            job = await self.api.create(work.wanted.fields)
            if isinstance(job, Job):
                work.job = job.id
                work.note("made")
                self.charges.end(ticket)
                self._answered = True
                return job
            if job.answered and job.kind not in ("cut_off", "bad_answer"):
                work.note("refused", job.detail)
                self.charges.free(ticket)
            # Else nobody knows whether it has made one: the bound of the cost stands, and "sending" is the last word of the record.
            repetitions += 1
            self._check_run(job, repetitions)
            if not job.again or (repetitions > self.limits.max_retries and job.kind != "busy"):
                return failure_of(job, repetitions)
            await self._wait(job, repetitions)

    async def _watched(self, work: "_Work") -> Job | Failure | None:
        """Look at a job until it has ended. None where the server does not know it."""
        assert work.job is not None
        looks, troubles = 0, 0
        while True:
            job = await self.api.retrieve(work.job)
            if isinstance(job, Job):
                troubles, self._answered = 0, True
                if job.finished:
                    return job
                if job.failed:
                    detail = job.error or f"the job is {job.status}"
                    work.note("failed", detail)
                    refused = self.api.endpoint.is_filtered(detail)
                    return Failure("content_filter" if refused else "job_failed", detail, retryable=not refused)
                looks += 1
                await asyncio.sleep(self.limits.looks.wait(looks, self._random))
            elif job.kind == "forgotten":
                return None
            else:
                # The job goes on though a look at it fails: it is given up when its time is over.
                troubles += 1
                self._check_run(job, troubles)
                if not job.again:
                    return failure_of(job)
                await self._wait(job, troubles)

    async def _fetched(self, work: "_Work") -> VideoInfo | Failure | None:
        """Download a finished job's clip and see that it is what was asked for. None where the server does not know the job."""
        assert work.job is not None
        wanted, part = work.wanted, work.wanted.path.with_name(f".{work.wanted.path.name}.{os.getpid()}.part")
        repetitions = 0
        try:
            while True:
                problem: Problem | None = await self.api.download(work.job, part)
                if problem is None:
                    try:
                        info = describe(part)
                        break
                    except ClipError as error:
                        reason = str(error).removeprefix(f"{part}: ")
                        problem = Problem("unreadable", f"the server's clip is no whole video: {reason}", again=True)
                if problem.kind == "forgotten":
                    return None
                repetitions += 1
                self._check_run(problem, repetitions)
                if not problem.again or repetitions > self.limits.max_retries:
                    work.note("failed", problem.detail)
                    return failure_of(problem, repetitions)
                await self._wait(problem, repetitions)
            mismatch = wanted.mismatch(info)
            if mismatch:
                part.replace(wanted.path)
                set_aside(wanted.path)
                work.note("not_as_asked", mismatch)
                return Failure(
                    "not_as_asked",
                    f"the server's clip has {mismatch}; it may not honour all fields: ask for what it makes, or null",
                )
            part.replace(wanted.path)
            work.note("downloaded")
            return info
        finally:
            part.unlink(missing_ok=True)

    def _check_run(self, problem: Problem, repetition: int) -> None:
        """Raise UserError where a problem concerns the whole run. A server that has answered before may be starting again."""
        if problem.scope == "run" and not (problem.again and self._answered):
            raise UserError(f"generator: {problem.detail}")
        if not problem.answered and not self._answered and repetition > 1:
            raise UserError(
                f"generator: {problem.detail}: the server hangs, or is too slow; restart it, or raise generator.call_timeout"
            )
        if problem.wait is not None and problem.wait > LONGEST_WAIT:
            raise UserError(
                f"generator: {problem.detail}; it asks to wait {problem.wait:.0f} seconds: start again then, what came is kept"
            )

    async def _wait(self, problem: Problem, repetition: int) -> None:
        """Wait before a call is repeated: as long as the server asks for, and then all requests wait, or a while that doubles."""
        wait = self.limits.backoff.wait(repetition, self._random)
        if problem.wait is not None:
            wait = problem.wait + min(1.0, 0.1 * problem.wait) * self._random.random()
            self.limits.pace.pause(problem.wait)
        log.debug("%s: again in %.1f s (%s)", self.api.endpoint.base_url, wait, problem.detail)
        await asyncio.sleep(wait)

    async def _too_late(self, work: "_Work") -> Failure:
        if work.job is not None:
            deleted = await self.api.delete(work.job, LEAVE)
            work.note("timeout", "deleted at the server" if deleted else "the server may still be at it")
        return Failure("timeout", f"no clip within generator.timeout={self.limits.timeout:g} seconds", retryable=True)

    async def _given_up(self, work: "_Work") -> None:
        """The run ends: its jobs are deleted, or kept for the next start."""
        if work.job is not None and not self._keep_jobs and await self.api.delete(work.job, LEAVE):
            work.note("deleted")


@dataclass
class _Work:
    """How far one clip has come."""

    wanted: Wanted
    record: JobRecord
    request: str
    job: str | None
    forgotten: int = 0

    def note(self, event: str, detail: str = "") -> None:
        self.record.write(event, self.wanted.item, self.request, self.job, detail)
