"""The trained policy as a method: what a user of a released prompt optimizer calls."""

from collections.abc import Sequence

from vpo.interfaces import LanguageModel
from vpo.records import Query
from vpo.seeding import seed_of


class PromptOptimizer:
    """Rewrites queries with a language model.

    Args:
        language_model: a loaded policy.
        temperature: 0 for greedy; VPO's README samples at 0.7.
        top_p: mass of the nucleus.
        max_new_tokens: longest completion.
    """

    def __init__(self, language_model: LanguageModel, temperature: float, top_p: float, max_new_tokens: int) -> None:
        self.language_model = language_model
        self.temperature, self.top_p, self.max_new_tokens = temperature, top_p, max_new_tokens

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str]:
        return self.language_model.sample(
            [query.text for query in queries],
            [seed_of("optimize", seed, query.id) for query in queries],
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
        )
