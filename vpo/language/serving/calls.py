"""From a request to what a server is sent.

Messages go to `/chat/completions`, where the server renders them with the model's own chat template. Token ids go to
`/completions` as they are: vLLM and SGLang take them there, hosted services and `transformers serve` do not.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vpo.records import Request

CHAT, IDS = "chat/completions", "completions"
SEEDS = 2**31  # some servers read a seed into 32 bits with a sign
OWN = ("model", "messages", "prompt", "n", "stream", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens",
       "best_of")  # fmt: skip
# What a chat template writes, in tokens, besides what the turns say: around each turn, and before the first.
PER_TURN, BEFORE = 16, 64


@dataclass(frozen=True)
class Call:
    """One request as a server is sent it.

    Attributes:
        path: below the base URL.
        body: the JSON object, without `extra_body`.
        extra: fields that only some servers know.
        draw: which sample is asked for: the seed, also where the server is not sent it; None for the likeliest completion.
        most_in, most_out: tokens that are read and written at most.
    """

    path: str
    body: Mapping[str, Any]
    extra: Mapping[str, Any]
    draw: int | None
    most_in: int
    most_out: int

    def asked(self, endpoint: str) -> dict[str, Any]:
        """What decides the answer: the content of a cache key."""
        return {
            "endpoint": endpoint,
            "path": self.path,
            "body": {**self.body, **self.extra},
            "draw": self.draw,
        }


@dataclass(frozen=True)
class Dialect:
    """How a server likes to be asked.

    Attributes:
        model: its name at the server.
        extra_body: fields that only some servers know.
        omit: of seed, temperature and top_p, those that the server refuses.
        max_tokens_field: "max_tokens", or "max_completion_tokens" for OpenAI's newer models.
    """

    model: str
    extra_body: Mapping[str, Any]
    omit: Collection[str]
    max_tokens_field: str

    def call(self, request: Request) -> Call:
        """What the server is sent. A greedy request has no seed, as nothing is drawn."""
        sampling = request.sampling
        greedy = sampling.temperature == 0
        draw = None if greedy else request.seed % SEEDS
        body: dict[str, Any] = {"model": self.model}
        if request.prompt_ids:
            path, most_in = IDS, len(request.prompt_ids)
            body["prompt"] = list(request.prompt_ids)
        else:
            path = CHAT
            body["messages"] = [{"role": one.role, "content": whole(one.content)} for one in request.messages]
            # No token is less than a byte.
            size = sum(len(one["content"].encode()) for one in body["messages"])
            most_in = size + PER_TURN * len(request.messages) + BEFORE
        body["max_tokens" if path == IDS else self.max_tokens_field] = sampling.max_new_tokens
        values = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": draw}
        body |= {name: value for name, value in values.items() if value is not None and name not in self.omit}
        return Call(path, body, self.extra_body, draw, most_in, sampling.max_new_tokens)


def whole(text: str) -> str:
    """The text with the replacement character for each half of a surrogate pair, which has no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
