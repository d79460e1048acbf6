"""A real HTTP server of the size of a test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], server: Any, attribute: str) -> Iterator[Any]:
    """The server, behind a free port of this machine.

    Args:
        handler: reads requests and sends replies.
        server: what came and what is answered; it gets its `address`, and `stopped` is set at the end.
        attribute: of the handler, which becomes the server.
    """
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (handler,), {attribute: server}))
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.stopped.set()
        http.shutdown()
        http.server_close()
