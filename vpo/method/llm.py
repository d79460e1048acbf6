"""A language model that is not trained here as a method: any engine, asked with a template."""

from vpo.interfaces import Engine
from vpo.language.policy import InstructedPolicy
from vpo.method.policy import PolicyMethod
from vpo.templates import read_chat


class EngineMethod(PolicyMethod):
    """Rewrites queries with any engine.

    Args:
        engine: where the language model runs.
        template: name of the file in `vpo/templates` that holds the instruction.
        temperature: 0 for greedy.
        top_p: mass of the nucleus.
        max_new_tokens: longest completion.
    """

    def __init__(self, engine: Engine, template: str, temperature: float, top_p: float, max_new_tokens: int) -> None:
        chat = read_chat(template)
        policy = InstructedPolicy(engine, chat.template, chat.before, quoted=chat.quoted)
        super().__init__(policy, temperature, top_p, max_new_tokens)
