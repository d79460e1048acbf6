"""The backbone before any training, asked by an instruction of its own: what a few-shot prompt alone gives."""

from collections.abc import Sequence

from vpo.interfaces import Policy
from vpo.language.policy import InstructedPolicy
from vpo.method.policy import PolicyMethod
from vpo.records import Completion, Failure, Query
from vpo.templates import read_chat


class InstructedMethod(PolicyMethod):
    """Asks a policy's language model by another template than the one that it is trained with.

    Args:
        policy: a loaded one; its engine is asked, its own rendering is not used.
        template: name of the file in `vpo/templates` that holds the instruction, with examples if it likes.
        temperature: 0 for greedy.
        top_p: mass of the nucleus.
        max_new_tokens: longest completion.
    """

    def __init__(self, policy: Policy, template: str, temperature: float, top_p: float, max_new_tokens: int) -> None:
        super().__init__(policy, temperature, top_p, max_new_tokens)
        self.chat = read_chat(template)

    def optimize(self, queries: Sequence[Query], seed: int) -> list[Completion | Failure]:
        sampling = self.sampling
        asked = InstructedPolicy(self.policy.engine, self.chat.template, self.chat.before, quoted=self.chat.quoted)
        return PolicyMethod(asked, sampling.temperature, sampling.top_p, sampling.max_new_tokens).optimize(
            queries, seed
        )
