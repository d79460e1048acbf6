"""The rewriters that come with video models: a language model as it is, asked by their instruction, its answer cleaned."""

from collections.abc import Sequence
from dataclasses import replace

from vpo.language.answers import unwrap
from vpo.method.llm import EngineMethod
from vpo.records import Completion, Failure, Query

_SHOWN = 60


class Rewriter(EngineMethod):
    """Asks any engine by a template, which may be a chat, and takes the prompt out of the answer.

    What surrounds the prompt (an announcement, quotes, a note) goes, and it becomes one line, as video models read it. An answer
    without a prompt is a Failure; the originals give the user's query in its place, which would count as their rewrite here.
    """

    def optimize(self, queries: Sequence[Query], seed: int) -> list[Completion | Failure]:
        """One prompt a query, drawn from a seed of its own."""
        return [_cleaned(one) for one in super().optimize(queries, seed)]


def _cleaned(answer: Completion | Failure) -> Completion | Failure:
    """The prompt of an answer, in one line."""
    if isinstance(answer, Failure):
        return answer
    prompt = " ".join(unwrap(answer.text).prompt.split())
    if not prompt:
        shown = " ".join(answer.text.split())[:_SHOWN]
        return Failure("no_prompt", f"the answer holds no prompt: {shown!r}")
    return replace(answer, text=prompt)
