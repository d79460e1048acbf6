"""An OpenAI-compatible server of the size of a test, over real HTTP, that misbehaves as it is told."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import listening


@dataclass
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: Any = None  # JSON, or a text as it is; None answers like a language model
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0  # seconds
    trickle: bool = False  # a byte now and then, for ever
    cut: bool = False  # the connection ends within the body


@dataclass
class ChatServer:
    """What came, and what is answered.

    Attributes:
        replies: from (number of the request to a call, its body) to the reply; models are listed as they are.
        seen: body, headers, moment of every request to a call.
        most_at_once: requests that were under way at the same time.
    """

    replies: Callable[[int, dict], Reply] = lambda number, body: Reply()
    models: list[str] = field(default_factory=lambda: ["tiny"])
    root: str = "/v1"
    key: str | None = None
    address: str = ""
    seen: list[tuple[str, dict, dict[str, str], float]] = field(default_factory=list)
    under_way: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def base_url(self) -> str:
        return self.address + self.root

    @property
    def bodies(self) -> list[dict]:
        return [body for _, body, _, _ in self.seen]

    @property
    def moments(self) -> list[float]:
        return [moment for _, _, _, moment in self.seen]


def chat_server(
    replies: Callable[[int, dict], Reply] | None = None, **values: Any
) -> AbstractContextManager[ChatServer]:
    """A server on a free port of this machine."""
    return listening(Handler, ChatServer(**({"replies": replies} if replies else {}), **values), "chat")


def completion(
    text: str | None, finish: str | None = "stop", tokens: tuple[int, int] = (10, 5), **message: Any
) -> dict:
    """A chat completion as a server gives it."""
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }  # fmt: skip


def echo(body: dict) -> dict:
    """An answer that says what was asked: the last turn and the seed, or the token ids."""
    if "messages" in body:
        return completion(f"{body['messages'][-1]['content']} #{body.get('seed')}")
    answer = completion(None)
    answer["choices"] = [{"index": 0, "text": f"{body['prompt']} #{body.get('seed')}", "finish_reason": "stop"}]
    return answer


def error(message: str, **values: Any) -> dict:
    return {"error": {"message": message, "type": "error", "param": None, "code": None, **values}}


class Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.path == f"{self.chat.root}/models":
            self._send(Reply(body={"object": "list", "data": [{"id": one} for one in self.chat.models]}))
        else:
            self._send(Reply(404, {"detail": "Not Found"}))

    def do_POST(self):
        chat = self.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.startswith(f"{chat.root}/") or not self.path.endswith("completions"):
            return self._send(Reply(404, {"detail": "Not Found"}))
        with chat.lock:
            number = len(chat.seen)
            chat.seen.append((self.path, body, {k.lower(): v for k, v in self.headers.items()}, time.monotonic()))
            chat.under_way += 1
            chat.most_at_once = max(chat.most_at_once, chat.under_way)
        try:
            if chat.key is not None and self.headers.get("Authorization") != f"Bearer {chat.key}":
                given = self.headers.get("Authorization", "").removeprefix("Bearer ")
                return self._send(Reply(401, error(f"Incorrect API key provided: {given}", code="invalid_api_key")))
            if body["model"] not in chat.models:
                return self._send(Reply(404, error(f"The model {body['model']} does not exist")))
            reply = chat.replies(number, body)
            chat.stopped.wait(reply.after)
            self._send(reply if reply.body is not None else replace(reply, body=echo(body)))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with chat.lock:
                chat.under_way -= 1

    def _send(self, reply: Reply) -> None:
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        content = text.encode()
        self.send_response(reply.status)
        kind = "application/json" if not isinstance(reply.body, str) else "text/html"
        length = len(content) + (10**6 if reply.trickle or reply.cut else 0)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.trickle:
            while not self.chat.stopped.wait(0.05):
                self.wfile.write(b" ")
        self.wfile.write(content)
        if reply.cut:
            self.wfile.flush()
            self.close_connection = True
