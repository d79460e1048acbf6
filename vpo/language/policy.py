"""How a query is put to a language model: as the ids that it was trained on, or as a user's turn; see `vpo.interfaces.Policy`."""

from dataclasses import dataclass

from vpo.backbone.rendering import Renderer
from vpo.interfaces import Engine
from vpo.records import Message, Request, Sampling


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy of ours in this process: it reads queries exactly as in its training.

    Its requests hold token ids, because only the renderer knows where in a prompt the user's words stand, and makes these apart
    where they name a control token.
    """

    engine: Engine
    renderer: Renderer

    def request(self, query: str, sampling: Sampling, seed: int) -> Request:
        return Request(prompt_ids=tuple(self.renderer.prompt_ids(query)), sampling=sampling, seed=seed)

    def close(self) -> None:
        self.engine.close()


@dataclass(frozen=True)
class InstructedPolicy:
    """Any language model, asked by one user's turn: a template with the stripped query.

    Attributes:
        template: text with one slot `{}`.
    """

    engine: Engine
    template: str

    def request(self, query: str, sampling: Sampling, seed: int) -> Request:
        turn = Message("user", self.template.replace("{}", query.strip(), 1))
        return Request(messages=(turn,), sampling=sampling, seed=seed)

    def close(self) -> None:
        self.engine.close()
