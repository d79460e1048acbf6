"""How a query is put to a language model: as the ids that it was trained on, or as a user's turn; see `vpo.interfaces.Policy`.

Plain classes: Hydra takes a dataclass that a constructor is given for a config.
"""

from collections.abc import Sequence

from vpo.interfaces import Engine
from vpo.language.chat.rendering import Renderer
from vpo.language.quoting import as_line
from vpo.records import Message, Request, Sampling


class TrainedPolicy:
    """A policy of ours in this process: it reads queries exactly as in its training.

    Its requests hold token ids, because only the renderer knows where in a prompt the user's words stand, and makes these apart
    where they name a control token.
    """

    def __init__(self, engine: Engine, renderer: Renderer) -> None:
        self.engine, self.renderer = engine, renderer

    def request(self, query: str, sampling: Sampling, seed: int) -> Request:
        return Request(prompt_ids=tuple(self.renderer.prompt_ids(query)), sampling=sampling, seed=seed)

    def close(self) -> None:
        self.engine.close()


class InstructedPolicy:
    """Any language model, asked by a user's turn: a template with the stripped query.

    Args:
        engine: where it runs.
        template: text with one slot `{}`.
        before: turns that come before it: an instruction of the system, examples.
        quoted: whether a query is put as one line that cannot leave its place beside an instruction; where it is the whole turn, the
            turn is its place. Models that were trained on raw queries need them raw (False).
    """

    def __init__(self, engine: Engine, template: str, before: Sequence[Message] = (), *, quoted: bool = False) -> None:
        self.engine, self.template, self.before = engine, template, tuple(before)
        self.quoted = quoted and template != "{}"

    def request(self, query: str, sampling: Sampling, seed: int) -> Request:
        put = as_line(query, in_quotes='"{}"' in self.template) if self.quoted else query.strip()
        turn = Message("user", self.template.replace("{}", put, 1))
        return Request(messages=(*self.before, turn), sampling=sampling, seed=seed)

    def close(self) -> None:
        self.engine.close()
