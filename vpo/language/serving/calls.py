"""From a request to what a server is sent.

Messages go to `/chat/completions`, where the server renders them with the model's own chat template. Token ids go to
`/completions` as they are: vLLM and SGLang take them there, hosted services and `transformers serve` do not.
"""

import base64
import hashlib
import mimetypes
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.records import Message, Request

CHAT, IDS = "chat/completions", "completions"
SEEDS = 2**31  # some servers read a seed into 32 bits with a sign
OWN = ("model", "messages", "prompt", "n", "stream", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens",
       "best_of")  # fmt: skip
# What a chat template writes, in tokens, besides what the turns say: around each turn, and before the first.
PER_TURN, BEFORE = 16, 64
# Tokens of a picture at most: 1280 * 28 * 28 pixels of Qwen-VL's, the bound that Wan gives its own judge.
PER_IMAGE = 1280


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
            "body": {**_without_images(self.body), **self.extra},
            "draw": self.draw,
        }


@dataclass(frozen=True)
class Dialect:
    """How a server likes to be asked.

    Attributes:
        model: its name at the server.
        extra_body: fields that only some servers know.
        omit: of seed, temperature, top_p and logprobs, those that the server refuses.
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
            body["messages"] = [_turn(one) for one in request.messages]
            # No token is less than a byte.
            size = sum(len(whole(one.content).encode()) + PER_IMAGE * len(one.images) for one in request.messages)
            most_in = size + PER_TURN * len(request.messages) + BEFORE
        body["max_tokens" if path == IDS else self.max_tokens_field] = sampling.max_new_tokens
        values = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": draw}
        body |= {name: value for name, value in values.items() if value is not None and name not in self.omit}
        if request.top_logprobs and path == CHAT and "logprobs" not in self.omit:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return Call(path, body, self.extra_body, draw, most_in, sampling.max_new_tokens)


def _turn(message: Message) -> dict[str, Any]:
    """A turn as the API has it: a text, or parts where there are images."""
    text = whole(message.content)
    if not message.images:
        return {"role": message.role, "content": text}
    images = [{"type": "image_url", "image_url": {"url": image_url(one)}} for one in message.images]
    return {"role": message.role, "content": [*images, {"type": "text", "text": text}]}


def image_url(image: str) -> str:
    """A picture as a data URL: the one that is given, or that of a file. Raises UserError where the file cannot be read."""
    if image.startswith("data:"):
        return image
    kind = mimetypes.guess_type(image)[0] or ""
    if not kind.startswith("image/"):
        raise UserError(f"{image} is no picture's file; give a .png or .jpg")
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        raise UserError(f"{image}: the picture cannot be read: {(error.strerror or str(error)).lower()}") from error
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _without_images(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with a hash in each image's place: the answers' cache keeps what was asked, and need not keep the pictures."""
    if not any(isinstance(one["content"], list) for one in body.get("messages", ())):
        return body

    def short(part: Mapping[str, Any]) -> Mapping[str, Any]:
        url = part.get("image_url", {}).get("url")
        return part if url is None else {"type": "image_url", "sha256": hashlib.sha256(url.encode()).hexdigest()}

    turns = [
        {**one, "content": [short(part) for part in one["content"]]} if isinstance(one["content"], list) else one
        for one in body["messages"]
    ]
    return {**body, "messages": turns}


def whole(text: str) -> str:
    """The text with the replacement character for each half of a surrogate pair, which has no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
