"""The OpenAI Videos API, call by call: a reply, or the problem that stands in its place.

    POST   /videos               multipart form; {"id", "status", ...}
    GET    /videos/{id}          {"status": queued | in_progress | completed | failed, "progress", "error"}
    GET    /videos/{id}/content  the mp4
    DELETE /videos/{id}

vLLM-Omni, SGLang-Diffusion and NVIDIA Dynamo serve it. It is asked by httpx2, which the hub's client brings along: the `openai`
client marks its videos as deprecated, knows the sizes and lengths of OpenAI's own models only, and would be one more extra.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vpo.language.serving.calls import Call
from vpo.language.serving.problems import Endpoint, Problem
from vpo.records import Failure

VIDEOS = "videos"
CONNECT = 10.0  # seconds that a connection may take
LARGEST = 2**30  # bytes of a clip
FINISHED, ENDED = ("completed", "succeeded"), ("failed", "cancelled", "canceled", "deleted", "expired", "error")


@dataclass(frozen=True)
class Job:
    """A job as the server describes it; `error` is its words, where it has failed."""

    id: str
    status: str
    error: str = ""

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def failed(self) -> bool:
        return self.status in ENDED


class VideosApi:
    """Asks a server; of one event loop.

    Args:
        endpoint: where it is, for messages; `endpoint.timeout` is how long one call may take.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import httpx2

        self.endpoint = endpoint
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        timeout = httpx2.Timeout(endpoint.timeout, connect=min(CONNECT, endpoint.timeout))
        self._http = httpx2.AsyncClient(headers=headers, timeout=timeout, follow_redirects=True)
        self._base = endpoint.base_url.rstrip("/")

    async def create(self, fields: Mapping[str, str]) -> Job | Problem:
        """Start a job."""
        form = [(name, (None, value)) for name, value in fields.items()]  # without a file name: fields of a form
        return await self._job("POST", f"{self._base}/{VIDEOS}", fields, files=form)

    async def retrieve(self, id: str) -> Job | Problem:
        """How a job stands. A job that the server does not know is the problem `forgotten`."""
        return await self._job("GET", self._address(id), {})

    async def delete(self, id: str, within: float) -> bool:
        """Delete a job; whether the server says that it has."""
        try:
            async with asyncio.timeout(within):
                return bool((await self._http.delete(self._address(id))).is_success)
        except Exception:  # whatever it is: nobody waits for the job any more
            return False

    async def download(self, id: str, part: Path) -> Problem | None:
        """Write a finished job's file to `part`. What a full disk raises is no problem of the server's."""
        import httpx2

        try:
            async with (
                asyncio.timeout(self.endpoint.timeout * 10),
                self._http.stream("GET", f"{self._address(id)}/content") as answer,
            ):
                if not answer.is_success:
                    await answer.aread()
                    return self._of_status(answer, {})
                size = 0
                with part.open("wb") as file:
                    async for piece in answer.aiter_bytes():
                        size += len(piece)
                        if size > LARGEST:
                            return Problem("unreadable", f"the clip has more than {LARGEST / 2**30:g} GiB")
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
            return None
        except (TimeoutError, httpx2.TimeoutException):
            return self._silence()
        except httpx2.HTTPError as error:
            return self.endpoint.of_connection(error)

    async def close(self) -> None:
        await self._http.aclose()

    async def _job(self, verb: str, address: str, fields: Mapping[str, str], **sent: Any) -> Job | Problem:
        import httpx2

        try:
            async with asyncio.timeout(self.endpoint.timeout):
                answer = await self._http.request(verb, address, **sent)
        except (TimeoutError, httpx2.TimeoutException):
            return self._silence()
        except httpx2.HTTPError as error:
            return self.endpoint.of_connection(error)
        if not answer.is_success:
            return self._of_status(answer, fields)
        try:
            content = answer.json()
            id, status = content["id"], str(content.get("status") or "queued").lower()
            if not isinstance(id, str) or not id:
                raise TypeError("the job has no id")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            begins = self.endpoint.clean(answer.text)[:60]
            return Problem("bad_answer", f"the answer is no job: it begins {begins!r}", again=True)
        return Job(id, status, self.endpoint.clean(_words(content.get("error"))))

    def _silence(self) -> Problem:
        return Problem(
            "timeout", f"no answer of {self.endpoint.base_url} within {self.endpoint.role}.call_timeout={self.endpoint.timeout:g} "
            "seconds", again=True, answered=False,
        )  # fmt: skip

    def _of_status(self, answer: Any, fields: Mapping[str, str]) -> Problem:
        """The meaning of an error. Below a job's own address 404 is about the job."""
        try:
            body = answer.json()
        except (ValueError, RecursionError):
            body = answer.text
        if answer.status_code in (404, 410) and not fields:
            return Problem("forgotten", "the server does not know the job any more")
        extra = {name: value for name, value in fields.items() if name not in ("model", "prompt")}
        call = Call(VIDEOS, {"model": fields.get("model", "")}, extra, None, 0, 0)
        return self.endpoint.of_status(answer.status_code, answer.headers, body, call)

    def _address(self, id: str) -> str:
        return f"{self._base}/{VIDEOS}/{quote(id, safe='')}"


def failure_of(problem: Problem, attempts: int = 1) -> Failure:
    """A problem of one item as a record."""
    return Failure(problem.kind, problem.detail, attempts, retryable=problem.again)


def _words(error: Any) -> str:
    """What a job says of its failure: {"code", "message"}, or a text."""
    if isinstance(error, Mapping):
        return " ".join(str(error[name]) for name in ("code", "message") if error.get(name))
    return str(error or "")
