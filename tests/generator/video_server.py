"""A server of the OpenAI Videos API of the size of a test, over real HTTP, that misbehaves as it is told."""

import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np

from tests.http_server import listening
from vpo.video import clips

Fields = dict[str, str]


def paint(fields: Fields) -> bytes:
    """A clip as asked for: a square that moves over a ground whose colour is the seed's."""
    frames, height, width = (
        int(fields.get(name, value)) for name, value in (("num_frames", 5), ("height", 32), ("width", 48))
    )
    video = np.empty((frames, height, width, 3), np.uint8)
    video[:] = np.random.default_rng(int(fields.get("seed", 0))).integers(60, 160, 3)
    for t in range(frames):
        at = 3 * t % (width - 8)
        video[t, 4:12, at : at + 8] = 250
    with tempfile.TemporaryDirectory() as folder:
        clips.write_mp4(video, float(fields.get("fps", 8)), Path(folder, "a.mp4"))
        return Path(folder, "a.mp4").read_bytes()


@dataclass
class Trouble:
    """What goes wrong with one call.

    Attributes:
        status, body, headers: of the answer.
        hang: no answer comes while the server runs.
        drop: the connection ends before the answer.
        cut: the connection ends within the answer.
        made: whether a POST makes its job all the same.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False
    cut: bool = False
    made: bool = False


@dataclass
class Job:
    """A job of the server. `becomes` is how it ends: completed, failed, never, or forgotten at the second look."""

    id: str
    fields: Fields
    number: int
    becomes: str = "completed"
    status: str = "queued"
    error: Any = None
    content: bytes = b""
    looks: int = 0


@dataclass
class VideoServer:
    """What came, and what is answered.

    Attributes:
        render: from the fields of a job to its mp4.
        trouble: from (verb, number of the call of this verb, fields or the job's) to what goes wrong with it. Verbs are POST, GET,
            content, DELETE.
        ends: from a job to how it ends; it may change the job's fields, error or content.
        seconds: that a job takes.
        key: that a caller must have.
        made, deleted: all jobs.
        calls: verbs in the order in which they came, with their moments.
        most_at_once: jobs that were unfinished at the same time.
    """

    render: Callable[[Fields], bytes] = paint
    trouble: Callable[[str, int, Fields], Trouble | None] = lambda verb, number, fields: None
    ends: Callable[[Job], str] = lambda job: "completed"
    seconds: float = 0.0
    key: str | None = None
    address: str = ""
    made: list[Job] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    calls: list[tuple[str, float]] = field(default_factory=list)
    authorized: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def count(self, verb: str) -> int:
        return sum(one == verb for one, _ in self.calls)

    def make(self, fields: Fields) -> Job:
        with self.lock:
            job = Job(f"video_{len(self.made)}", fields, len(self.made))
            self.made.append(job)
            self.jobs[job.id] = job
            self.most_at_once = max(self.most_at_once, sum(one.status == "queued" for one in self.jobs.values()))
        threading.Thread(target=self._work, args=(job,), daemon=True).start()
        return job

    def _work(self, job: Job) -> None:
        if self.stopped.wait(self.seconds):
            return
        job.becomes = self.ends(job)
        if job.becomes == "completed":
            with self.lock:  # one GPU
                job.content = job.content or self.render(job.fields)
        if job.becomes != "never":
            job.status = "failed" if job.becomes == "failed" else "completed"

    def restart(self) -> None:
        """All jobs are forgotten."""
        self.jobs.clear()


def video_server(**values: Any) -> AbstractContextManager[VideoServer]:
    """A server on a free port of this machine."""
    return listening(Handler, VideoServer(**values), "server_of_videos")


class Handler(BaseHTTPRequestHandler):
    server_of_videos: VideoServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        server = self.server_of_videos
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/videos":
            return self._json({"detail": "Not Found"}, 404)
        fields = form(self.headers["Content-Type"], content)
        if self._is_troubled("POST", fields):
            return
        self._json(self._shown(server.make(fields)))

    def do_GET(self):
        job = self.server_of_videos.jobs.get(self.path.split("/")[3] if self.path.count("/") > 2 else "")
        verb = "content" if self.path.endswith("/content") else "GET"
        if self._is_troubled(verb, job.fields if job else {}):
            return
        if job is not None and verb == "GET":
            job.looks += 1
            if job.becomes == "forgotten" and job.status == "completed":
                self.server_of_videos.jobs.pop(job.id, None)
                job = None
        if job is None:
            return self._json({"error": {"message": "Video not found", "code": "not_found"}}, 404)
        if verb == "GET":
            return self._json(self._shown(job))
        self._send(200, job.content, {"Content-Type": "video/mp4"})

    def do_DELETE(self):
        server = self.server_of_videos
        id = self.path.rsplit("/", 1)[1]
        if self._is_troubled("DELETE", {}):
            return
        known = server.jobs.pop(id, None)
        if known is not None:
            server.deleted.append(id)
        self._json({"id": id, "deleted": known is not None}, 200 if known else 404)

    def _is_troubled(self, verb: str, fields: Fields) -> bool:
        server = self.server_of_videos
        with server.lock:
            number = server.count(verb)
            server.calls.append((verb, time.monotonic()))
            server.authorized.append(self.headers.get("Authorization"))
        if server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
            self._json({"error": {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}}, 401)
            return True
        trouble = server.trouble(verb, number, fields)
        if trouble is None:
            return False
        if trouble.made and verb == "POST":
            server.make(fields)
        if trouble.hang:
            server.stopped.wait(30)
        if trouble.hang or trouble.drop:
            self.close_connection = True
            self.connection.close()
            return True
        content = trouble.body if isinstance(trouble.body, bytes) else json.dumps(trouble.body).encode()
        self._send(trouble.status, content, {"Content-Type": "application/json", **trouble.headers}, cut=trouble.cut)
        return True

    def _shown(self, job: Job) -> dict:
        return {
            "id": job.id, "object": "video", "status": job.status, "progress": 0, "error": job.error, "created_at": 1,
            "model": job.fields.get("model", "tiny"),
        }  # fmt: skip

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str], cut: bool = False) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content) + (1000 if cut else 0)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            if cut:
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            pass


def form(kind: str, content: bytes) -> Fields:
    """The fields of a multipart form, read by the standard library's parser of mail, which shares the format."""
    assert kind.startswith("multipart/form-data"), kind
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
        for part in message.get_payload()
    }
