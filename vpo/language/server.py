"""A language model behind an OpenAI-compatible server as engine (extra "server")."""

import importlib.util
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.language.serving.answers import completion_of
from vpo.language.serving.cache import AnswerCache
from vpo.language.serving.calls import OWN, Call, Dialect
from vpo.language.serving.client import Client, Limits
from vpo.language.serving.loop import BackgroundLoop
from vpo.language.serving.meter import Meter, Prices
from vpo.language.serving.pace import Pace
from vpo.language.serving.problems import CAN_BE_OMITTED, Endpoint
from vpo.language.serving.settings import check_address, check_key
from vpo.records import Completion, Failure, Request
from vpo.storage.jsonio import canonical
from vpo.storage.ledger import Ledger, Spent

log = logging.getLogger(__name__)

MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")
SUSPICIOUS = 3  # draws from one prompt that are all the same
CONNECT = 10.0  # seconds that a connection may take


class ServerEngine:
    """Asks a server; see `vpo.interfaces.Engine`.

    Requests with messages go to /chat/completions. Requests with token ids, a policy's rendered prompt, go to /completions as
    they are, which vLLM and SGLang take.

    Args:
        base_url: of the API, such as http://localhost:8000/v1.
        model: its name at the server.
        endpoint: what the server is called in keys of results and answers: answers of another endpoint are not taken for its own.
            None for the base URL. Give a name of your own where one server's address changes from day to day.
        api_key_env: the environment's variable that holds the key; None sends none.
        concurrency: requests at once, of each worker process.
        timeout: seconds that an answer may take.
        max_retries: repetitions of a request that failed for a reason that passes.
        requests_per_minute, tokens_per_minute: limits of each worker process; None for none.
        price_in, price_out: of a million tokens, in any one currency.
        max_cost: of the whole run, in that currency.
        extra_body: further fields of the request that the server knows.
        omit: of seed, temperature, top_p and logprobs, those that the server refuses.
        max_tokens_field: what the server calls the longest completion.
        cache: folder of answers; None keeps none.

    Raises:
        UserError: What is missing or contradictory, and the cure.
    """

    # What cannot change an answer; `endpoint` stands for the address.
    not_in_key = (
        "base_url", "api_key_env", "concurrency", "timeout", "max_retries", "requests_per_minute", "tokens_per_minute", "price_in",
        "price_out", "max_cost", "cache",
    )  # fmt: skip

    def __init__(
        self,
        base_url: str,
        model: str,
        endpoint: str | None = None,
        api_key_env: str | None = None,
        concurrency: int = 16,
        timeout: float = 300.0,
        max_retries: int = 4,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        price_in: float | None = None,
        price_out: float | None = None,
        max_cost: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        omit: Sequence[str] = (),
        max_tokens_field: str = "max_tokens",
        cache: str | None = None,
    ) -> None:
        extra_body = extra_body or {}
        check_server(
            {
                "base_url": base_url, "api_key_env": api_key_env, "price_in": price_in, "price_out": price_out,
                "max_cost": max_cost, "extra_body": extra_body, "omit": omit, "max_tokens_field": max_tokens_field,
            }
        )  # fmt: skip
        key = os.environ[api_key_env].strip() if api_key_env else None
        self.dialect = Dialect(model, json.loads(canonical(extra_body)), tuple(omit), max_tokens_field)
        self.name = endpoint or base_url.rstrip("/")
        self.endpoint = Endpoint(base_url, api_key_env, key, timeout)
        self.limits = Limits(concurrency, timeout, max_retries, Pace(requests_per_minute, tokens_per_minute))
        self.cache = AnswerCache(Path(cache) if cache else None)
        self.meter = Meter(Prices(price_in, price_out), max_cost, Ledger.of_this_run())
        self._loop: BackgroundLoop | None = BackgroundLoop()
        self._client: Client | None = None
        self._warned = False

    @property
    def model_name(self) -> str:
        """What verdicts call the language model."""
        return self.dialect.model

    def generate(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """One completion a request. A UserError (no server, a wrong key, no money) ends all; what came is in the cache then."""
        if self._loop is None:
            raise RuntimeError("the engine is closed")
        if not requests:
            return []
        return self._loop.run(self._completions([self.dialect.call(one) for one in requests]))

    @property
    def spent(self) -> Spent:
        """What the run, or without a run this engine, has asked of servers so far."""
        return self.meter.spent

    def close(self) -> None:
        """Close the connections."""
        loop, self._loop = self._loop, None
        if loop is not None:
            if self._client is not None:
                loop.run(self._client.api.close())
            loop.close()

    async def _completions(self, calls: Sequence[Call]) -> list[Completion | Failure]:
        if self._client is None:
            self._client = Client(self._api(), self.endpoint, self.name, self.limits, self.cache, self.meter)
        answers = await self._client.answers(calls)
        self._warn_of_one_draw(calls, answers)
        return [one if isinstance(one, Failure) else completion_of(one) for one in answers]

    def _warn_of_one_draw(self, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Warn once where several draws for one prompt are the same text: the server does not sample, and no error says so."""
        draws: dict[str, dict[int, str]] = {}
        for call, answer in zip(calls, answers, strict=True):
            if call.draw is not None and not isinstance(answer, Failure):
                prompt = {name: value for name, value in call.body.items() if name != "seed"}
                draws.setdefault(canonical(prompt), {})[call.draw] = answer["text"]
        same = max((len(one) for one in draws.values() if len(set(one.values())) == 1), default=0)
        if same >= SUSPICIOUS and not self._warned:
            self._warned = True
            log.warning(
                "engine: %s gave the same text for %d draws from one prompt: it may not sample at all. `transformers serve` samples "
                "only where the model's generation_config.json says do_sample",
                self.endpoint.base_url,
                same,
            )

    def _api(self) -> Any:
        """The `openai` package's client. It would read keys, organisations and addresses from the environment by itself, and send
        them to whatever server is asked."""
        import openai

        return openai.AsyncOpenAI(
            base_url=self.endpoint.base_url,
            api_key=self.endpoint.key or "none",
            default_headers=None if self.endpoint.key else {one: openai.Omit() for one in _OF_ACCOUNTS},
            timeout=openai.Timeout(self.limits.timeout, connect=min(CONNECT, self.limits.timeout)),
            max_retries=0,
        )


_OF_ACCOUNTS = ("OpenAI-Organization", "OpenAI-Project")


def check_server(node: Mapping[str, Any]) -> None:
    """Raise UserError for a server's settings that cannot work, before any work is done."""
    if importlib.util.find_spec("openai") is None:
        raise UserError("engine=server needs the openai client: pip install 'vpo[server]'")
    check_address("engine", str(node["base_url"]), ("/chat/completions", "/completions"))
    check_key("engine", node.get("api_key_env"))
    if node.get("max_cost") is not None and None in (node.get("price_in"), node.get("price_out")):
        raise UserError("engine.max_cost needs engine.price_in and engine.price_out, the prices of a million tokens")
    own = sorted(set(node.get("extra_body") or {}) & set(OWN))
    if own:
        raise UserError(f"engine.extra_body.{own[0]} is set by vpo from the request; leave it out")
    unknown = sorted(set(node.get("omit") or ()) - set(CAN_BE_OMITTED))
    if unknown:
        raise UserError(f"engine.omit=[{unknown[0]}]: only {', '.join(CAN_BE_OMITTED)} can be left out")
    if node.get("max_tokens_field") not in (None, *MAX_TOKENS_FIELDS):
        raise UserError(f"engine.max_tokens_field={node['max_tokens_field']} must be {' or '.join(MAX_TOKENS_FIELDS)}")
