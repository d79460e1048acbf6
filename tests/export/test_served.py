"""A real `transformers serve` of an export with the instruction inside, asked by plain clients over HTTP."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests.chat_models import chatml_tokenizer
from tests.export.test_inside import INSTRUCTION, code_of, policy_of, trained, written_by
from tests.trained import run_of
from vpo.cli.export import export_command
from vpo.language.chat.rendering import Renderer

NEEDED = ("fastapi", "uvicorn", "openai")


@contextmanager
def serving(folder, log):
    """A server process of this model; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--host", "127.0.0.1"]
    settings = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], env=os.environ | settings, stdout=file, stderr=file
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", server, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(address, server, log):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"no answer in two minutes: {log.read_text()}")


def post(address, **body):
    """What the server answers to a chat request; the HTTP status is 200."""
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_transformers_serve_writes_what_we_write_of_the_bare_query(home):
    for name in NEEDED:
        pytest.importorskip(name, reason=f"transformers serve needs {name}: pip install 'transformers[serving]'")
    trained(home, chatml_tokenizer())
    export_command([run_of(home), "template=inside", "to=made"])
    folder, renderer = home / "made", Renderer(chatml_tokenizer(), INSTRUCTION)
    ours = policy_of(folder, home)
    with serving(folder, home / "log.txt") as address:

        def ask(query):
            turn = [{"role": "user", "content": query}]
            answer = post(address, model=str(folder), messages=turn, max_tokens=6)
            assert answer["usage"]["prompt_tokens"] == len(renderer.prompt_ids(query))
            return answer["choices"][0]["message"]["content"].strip()

        for query in ("a dog on a beach", '  two\n\n{{ lines }} {% raw %} "q" {} '):
            due = written_by(ours, query)
            assert ask(query) == due.text
            assert ask(INSTRUCTION.replace("{}", query)) == due.text  # from a client that knows the instruction
        due = written_by(ours, "a dog on a beach")
        code = code_of(folder, 1).replace("http://localhost:8000", address).replace('"optimizer"', repr(str(folder)))
        names = {}
        exec(code, names)
        assert names["prompt"] == due.text
