"""A language model that rewrites queries, trained here or released, as a method."""

from collections.abc import Sequence

from vpo.interfaces import Policy
from vpo.records import Completion, Failure, Query, Sampling
from vpo.seeding import seed_of


class PolicyMethod:
    """Rewrites queries with a language model.

    Args:
        policy: a loaded one, by a backbone's `load`.
        temperature: 0 for greedy; VPO's README samples at 0.7.
        top_p: mass of the nucleus.
        max_new_tokens: longest completion.
    """

    def __init__(self, policy: Policy, temperature: float, top_p: float, max_new_tokens: int) -> None:
        self.policy = policy
        self.sampling = Sampling(temperature, top_p, max_new_tokens)

    def optimize(self, queries: Sequence[Query], seed: int) -> list[Completion | Failure]:
        """What the policy writes for each query, drawn from a seed of its own."""
        seeds = [seed_of("optimize", seed, query.id) for query in queries]
        return self.policy.engine.generate(
            [self.policy.request(query.text, self.sampling, one) for query, one in zip(queries, seeds, strict=True)]
        )

    def close(self) -> None:
        """Free the language model's memory."""
        self.policy.close()
