"""Asks a server: how many requests at once, when again, at what price, and what becomes of an error."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from vpo.errors import UserError
from vpo.language.serving.answers import BadAnswer, read_answer
from vpo.language.serving.cache import AnswerCache
from vpo.language.serving.calls import CHAT, Call
from vpo.language.serving.meter import Meter
from vpo.language.serving.pace import Backoff, Pace
from vpo.language.serving.problems import Endpoint, Problem
from vpo.records import Failure

log = logging.getLogger(__name__)

Answer = Mapping[str, Any]
LONGEST_WAIT = 600.0  # seconds; a server that asks to wait longer ends the run instead
LOOK = 0.2  # seconds between two looks at whether another process has its answer
PROBE = 10.0  # seconds for a question that only serves an error message


@dataclass
class Limits:
    """How a server is asked.

    Attributes:
        concurrency: requests at once.
        timeout: seconds that an answer may take.
        max_retries: repetitions of a request that failed.
        pace: limits of a minute.
        backoff: waits before repetitions.
    """

    concurrency: int
    timeout: float
    max_retries: int
    pace: Pace = field(default_factory=Pace)
    backoff: Backoff = field(default_factory=Backoff)


class Client:
    """Gets the answers to calls; of one event loop.

    Args:
        api: the `openai` package's asynchronous client, which repeats nothing by itself.
        endpoint: where it asks, for messages.
        name: what the endpoint is called in keys of the cache.
        limits: how the server is asked.
        cache: of answers.
        meter: adds up what they cost.
    """

    def __init__(
        self, api: Any, endpoint: Endpoint, name: str, limits: Limits, cache: AnswerCache, meter: Meter
    ) -> None:
        self.api, self.endpoint, self.name, self.limits, self.cache, self.meter = (
            api,
            endpoint,
            name,
            limits,
            cache,
            meter,
        )
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._random = Random()
        self._ended: UserError | None = None  # the whole run's error, after which nothing more is sent
        self._answers = 0  # readable ones so far
        self._known = (
            False  # whether the cache holds an answer of it: then it is such a server, whatever one request gets
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._under_way: set[asyncio.Task[Any] | None] = set()  # those whose request is with the server
        self._silent = 0  # requests without an answer since the last one

    async def answers(self, calls: Sequence[Call]) -> list[Answer | Failure]:
        """One answer a call; equal calls are asked once.

        Raises:
            UserError: What concerns the whole run. What was under way is waited for and kept in the cache before.
        """
        self._ended = None
        asked = [call.asked(self.name) for call in calls]
        known = {repr(one): (call, one) for call, one in zip(calls, asked, strict=True)}
        tasks = {key: asyncio.create_task(self._answer(call, one)) for key, (call, one) in known.items()}
        self._tasks = set(tasks.values())
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:  # one has failed, or all are given up
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ended is not None:
            raise self._ended
        for task in done:
            task.result()  # raises what is no server's problem, such as a full disk
        found = {key: task.result() for key, task in tasks.items()}
        self.meter.cached(sum(from_cache for _, from_cache in found.values()))
        return [found[repr(one)][0] for one in asked]

    def _end(self, error: UserError) -> None:
        """Give up what only waits; what is under way is waited for, as it is paid."""
        self._ended = self._ended or error
        for task in self._tasks - self._under_way - {asyncio.current_task()}:
            task.cancel()

    async def _answer(self, call: Call, asked: Mapping[str, Any]) -> tuple[Answer | Failure, bool]:
        """The answer, and whether it was in the cache already."""
        async with self._slots:
            while True:
                found = self.cache.read(asked)
                if found is not None:
                    self._known = True
                    return found, True
                with self.cache.claim(asked) as mine:
                    if mine:
                        # Between the look above and the claim another process may have finished it.
                        found = self.cache.read(asked)
                        if found is not None:
                            return found, True
                        try:
                            return await self._ask(call, asked), False
                        except UserError as error:
                            self._end(error)
                            return Failure("not_asked", "the run had ended"), False
                await asyncio.sleep(LOOK)

    async def _ask(self, call: Call, asked: Mapping[str, Any]) -> Answer | Failure:
        """Ask the server until it answers, or the retries are used up."""
        repetitions, answers = 0, self._answers
        while True:
            result = await self._ask_once(call, asked)
            if not isinstance(result, Problem):
                return result
            if result.kind == "busy" and self._answers > answers:
                repetitions, answers = 0, self._answers  # it answers others meanwhile: this one's turn will come
            nobody = self._answers == 0 and not result.answered  # a server that is not there need not be waited for
            if self._ended is not None or not result.again or nobody or repetitions >= self.limits.max_retries:
                return self._given_up(result, repetitions + 1)
            repetitions += 1
            wait = self.limits.backoff.wait(repetitions, self._random)
            if result.wait is not None:
                if result.wait > LONGEST_WAIT:
                    raise UserError(
                        f"engine: {result.detail}; it asks to wait {result.wait:.0f} seconds: start again then, what came is kept"
                    )
                # A little more than was asked for, and not all at the same moment.
                wait = result.wait + min(1.0, 0.1 * result.wait) * self._random.random()
                self.limits.pace.pause(result.wait)
            log.debug("%s: again in %.1f s (%s)", self.endpoint.base_url, wait, result.detail)
            await asyncio.sleep(wait)

    def _given_up(self, problem: Problem, attempts: int) -> Failure:
        """The failure of one request. Raises UserError where the whole run is concerned."""
        tries = f" after {attempts} tries" if attempts > 1 else ""
        if problem.scope == "run":
            raise UserError(f"engine: {problem.detail}{tries}")
        if problem.kind == "busy":
            raise UserError(
                f"engine: {problem.detail}{tries}; lower engine.concurrency or set engine.requests_per_minute, then start again: what "
                "came is kept"
            )
        unknown = self._answers == 0 and not self._known
        if problem.kind == "timeout" and (unknown or self._silent >= max(3, self.limits.concurrency)):
            raise UserError(
                f"engine: {problem.detail}: the server hangs, or is too slow; restart it, or raise engine.timeout, then start again: "
                "what came is kept"
            )
        if problem.kind == "cut_off" and unknown:
            raise UserError(f"engine: {problem.detail}{tries}; look at the server's log, then start again")
        if problem.kind == "bad_answer" and unknown:
            raise UserError(
                f"engine: {self.endpoint.base_url} is no OpenAI-compatible server: {problem.detail}; correct engine.base_url, which "
                "mostly ends in /v1"
            )
        return Failure(problem.kind, problem.detail, attempts, retryable=problem.again or problem.kind == "timeout")

    async def _ask_once(self, call: Call, asked: Mapping[str, Any]) -> Answer | Failure | Problem:
        """One request: a readable answer, which is in the cache then, or the problem."""
        import openai

        entry = await self.limits.pace.enter(call.most_in + call.most_out)
        ticket = self.meter.begin(call)
        task = asyncio.current_task()
        self._under_way.add(task)
        try:
            async with asyncio.timeout(self.limits.timeout):
                raw = await self._send(call)
                text = raw.http_response.text
            problem = None
        except (TimeoutError, openai.APITimeoutError):
            self._silent += 1
            return self.endpoint.of_silence()  # it may have been charged: the ticket stays open
        except openai.APIStatusError as error:
            self._silent = 0
            problem = self.endpoint.of_status(error.status_code, error.response.headers, _body_of(error), call)
            if error.status_code in (404, 405) and problem.kind != "no_token_ids":
                problem = await self._not_found(call)
        except openai.APIConnectionError as error:
            problem = self.endpoint.of_connection(error)
        finally:
            self._under_way.discard(task)
        if problem is not None:
            self.meter.free(ticket)
            return problem
        self._silent = 0
        try:
            answer = self._read(text, call)
        except BadAnswer as error:  # with status 200 it may have been charged: the ticket stays open
            return Problem("bad_answer", self.endpoint.clean(error), again=True)
        if isinstance(answer, Problem):
            self.meter.free(ticket)
            return answer
        answer = self.meter.end(ticket, call, answer)
        self.limits.pace.correct(entry, (answer["tokens_in"] or 0) + (answer["tokens_out"] or 0))
        self._answers += 1
        self.cache.write(asked, answer)
        return answer

    async def _send(self, call: Call) -> Any:
        resource = self.api.chat.completions if call.path == CHAT else self.api.completions
        return await resource.with_raw_response.create(**call.body, extra_body=dict(call.extra) or None)

    def _read(self, text: str, call: Call) -> dict[str, Any] | Problem:
        """The answer of a status 200, which with some gateways holds an error all the same."""
        try:
            return read_answer(text, call.path)
        except BadAnswer:
            error = _error_in(text)
            if error is None:
                raise
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            return self.endpoint.of_status(status, {}, {"error": error}, call)

    async def _not_found(self, call: Call) -> Problem:
        """Why an address is not there: the model is not served, or the base URL is wrong."""
        base, model = self.endpoint.base_url, call.body["model"]
        served = await self._served(self.api)
        if served is None and not base.rstrip("/").endswith("/v1"):
            served = await self._served(self.api.copy(base_url=f"{base.rstrip('/')}/v1"))
            if served is not None:
                return Problem("no_path", f"{base}: there is no OpenAI-compatible server at this path; set "
                               f"engine.base_url={base.rstrip('/')}/v1", "run")  # fmt: skip
        if served is None:
            return Problem("no_path", f"{base} answers 404: no OpenAI-compatible server is at this path; engine.base_url mostly ends "
                           "in /v1", "run")  # fmt: skip
        shown = ", ".join(served[:10]) + (f" and {len(served) - 10} more" if len(served) > 10 else "")
        if model in served:
            return Problem(
                "no_path",
                f"{base} serves {model!r}, but answers 404 at /{call.path}; serve a model that chats there",
                "run",
            )
        return Problem(
            "no_model", f"{base} does not serve engine.model={model}; it serves {shown or 'no model'}", "run"
        )

    async def _served(self, api: Any) -> list[str] | None:
        """The names of the served models; None where the server does not list them."""
        import json

        try:
            async with asyncio.timeout(PROBE):
                raw = await api.models.with_raw_response.list()
                content = json.loads(raw.http_response.text)
            return [self.endpoint.clean(one["id"]) for one in content["data"]]
        except Exception:  # it only serves an error message
            return None


def _body_of(error: Any) -> Any:
    """The body of an error's answer: the `openai` client gives what stands in its "error"."""
    return error.body if error.body is not None else error.response.text


def _error_in(text: str) -> Mapping[str, Any] | None:
    """The error that stands in an answer in the place of choices."""
    import json

    try:
        error = json.loads(text)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return error if isinstance(error, Mapping) else {"message": str(error)} if error else None
