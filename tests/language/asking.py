"""Requests to a server's engine, as its tests make them."""

import pytest

from vpo.errors import UserError
from vpo.language.server import ServerEngine
from vpo.language.serving.pace import Backoff
from vpo.records import Message, Request, Sampling

WARM = Sampling(0.7, 0.9, 50)
GREEDY = Sampling(0.0, 1.0, 50)
KEY = "plain-words-are-a-key-0123456789"  # no pattern finds it: only its value can


def asked(text="a dog", sampling=WARM, seed=7, system=None):
    turns = ([Message("system", system)] if system else []) + [Message("user", text)]
    return Request(messages=tuple(turns), sampling=sampling, seed=seed)


def engine_of(server, **values) -> ServerEngine:
    engine = ServerEngine(**{"base_url": server.base_url, "model": "tiny", **values})
    engine.limits.backoff = Backoff(first=0.02, longest=0.1)
    return engine


def generate(server, *requests, **values):
    engine = engine_of(server, **values)
    try:
        return engine.generate(requests)
    finally:
        engine.close()


def problem(server, *requests, **values) -> str:
    """The one line of the error that ends the run."""
    with pytest.raises(UserError) as caught:
        generate(server, *(requests or [asked()]), **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)
