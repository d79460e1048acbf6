"""From a server's answer to a completion.

Servers differ in all that the OpenAI API leaves open, so that nothing of an answer is taken for granted.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from vpo.language.serving.calls import CHAT
from vpo.records import Completion, Failure, Usage

LENGTH = ("length", "max_tokens", "max_length", "model_length")
FILTERED = ("content_filter", "safety", "content-filter", "recitation", "prohibited_content")
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class BadAnswer(Exception):  # noqa: N818 (what came, not what was done wrong)
    """What came is no completion: no JSON, or JSON of another shape."""


def read_answer(text: str, path: str) -> dict[str, Any]:
    """The parts of an answer that matter, as they are kept in the cache.

    Returns:
        {"text", "finish_reason", "refusal", "reasoning": whether the model wrote a thought apart, "tokens_in" and "tokens_out"
        (None where the server does not say), "cost" where it says, "model" as the server calls it; and where the server gives
        log-probabilities, "first_tokens": {text: probability} of the likeliest first tokens}.

    Raises:
        BadAnswer: With the beginning of what came.
    """
    begins = f"it begins {' '.join(text.split())[:60]!r}" if text.strip() else "it is empty"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the answer is not JSON: {begins}") from error
    if not isinstance(content, Mapping):
        raise BadAnswer(f"the answer is no JSON object: {begins}")
    choices = content.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise BadAnswer(f"the answer holds no choices: {begins}")
    choice = choices[0]
    message = choice.get("message") if path == CHAT else choice
    if not isinstance(message, Mapping):
        raise BadAnswer(f"the answer's first choice holds no message: {begins}")
    usage: Any = content.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    first_tokens = _first_tokens(choice.get("logprobs"))
    return {
        "text": _text(message.get("content" if path == CHAT else "text")),
        "finish_reason": str(choice.get("finish_reason") or "").lower(),
        "refusal": message.get("refusal") if isinstance(message.get("refusal"), str) else None,
        "reasoning": bool(reasoning),
        "tokens_in": _count(usage.get("prompt_tokens")),
        "tokens_out": _count(usage.get("completion_tokens")),
        "cost": usage["cost"] if isinstance(usage.get("cost"), int | float) else None,
        "model": content.get("model") if isinstance(content.get("model"), str) else None,
    } | ({"first_tokens": first_tokens} if first_tokens else {})


def completion_of(answer: Mapping[str, Any]) -> Completion | Failure:
    """The completion of an answer, or why it is none. A model's thoughts are no part of its text."""
    usage = Usage(answer["tokens_in"] or 0, answer["tokens_out"] or 0, answer["cost"])
    reason = answer["finish_reason"]
    if reason in FILTERED:
        return Failure("content_filter", "the server's content filter stopped the answer")
    if reason in ("tool_calls", "function_call"):
        return Failure("no_text", "the model called a tool instead of writing a text")
    if reason == "error":
        return Failure("server_error", "the server ended the answer with finish_reason=error", retryable=True)
    finish = "length" if reason in LENGTH else "stop"
    text, thought = without_thought(answer["text"])
    if not text and answer["refusal"]:
        text = answer["refusal"].strip()
    if not text and finish == "length" and (thought or answer["reasoning"]):
        return Failure(
            "no_text",
            f"all {usage.tokens_out} tokens went into the model's thoughts; raise max_new_tokens, or turn thinking off, as in "
            "engine.extra_body={chat_template_kwargs:{enable_thinking:false}}",
        )
    # Behind a thought the first token is the thought's.
    first = None if thought or answer["reasoning"] else answer.get("first_tokens")
    return Completion(text, finish, usage, first)


def without_thought(text: str) -> tuple[str, bool]:
    """A stripped text without the thought before it, and whether there was one.

    A server that does not take thoughts apart leaves them in the text: `<think>...</think>answer`, or `...</think>answer` where
    the chat template has written the opening tag. A thought that was cut has no answer behind it.
    """
    rest = _THOUGHT.sub("", text, count=1)
    if rest != text:
        return rest.strip(), True
    if re.match(r"\s*<think>", text):
        return "", True
    if "</think>" in text and "<think>" not in text:
        return text.partition("</think>")[2].strip(), True
    return text.strip(), False


def _text(content: Any) -> str:
    """The text of a message: a text, or a list of parts."""
    if isinstance(content, list):
        return "".join(one["text"] for one in content if isinstance(one, Mapping) and isinstance(one.get("text"), str))
    return content if isinstance(content, str) else ""


def _first_tokens(logprobs: Any) -> dict[str, float]:
    """Probabilities of the likeliest first tokens of a chat's answer; empty where they are not given in the API's form."""
    steps = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = steps[0] if isinstance(steps, list) and steps else None
    likeliest = first.get("top_logprobs") if isinstance(first, Mapping) else None
    found: dict[str, float] = {}
    for one in likeliest if isinstance(likeliest, list) else ():
        token, value = (one.get("token"), one.get("logprob")) if isinstance(one, Mapping) else (None, None)
        if isinstance(token, str) and isinstance(value, int | float) and value <= 1e-3:
            found[token] = found.get(token, 0.0) + math.exp(value)
    return found


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
