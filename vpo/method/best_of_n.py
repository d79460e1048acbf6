"""Best of n: several prompts of a policy, of which a judge takes one."""

import dataclasses
from collections.abc import Sequence

from vpo.feedback.grading import ranked
from vpo.interfaces import Judge, Policy
from vpo.records import Completion, Failure, Prompt, Query, Sampling, Verdict
from vpo.seeding import seed_of


class BestOfN:
    """Samples n prompts of a query and gives the one that the judge ranks first (`vpo.feedback.grading.ranked`).

    The first of the n is what `PolicyMethod` gives for the same seed and sampling, so that n=1 is that method, and a row of best
    of n differs from its policy's row by the choice alone. Where several are equal the first one stays. The judge that chooses is no
    fair measure of what was chosen: read another metric beside its own.

    Args:
        policy: a loaded one, by a backbone's `load`.
        judge: reads each prompt against the query.
        n: how many are sampled.
        temperature: above 0 for n above 1, or all are equal.
        top_p: mass of the nucleus.
        max_new_tokens: longest completion.
    """

    def __init__(
        self, policy: Policy, judge: Judge, n: int, temperature: float, top_p: float, max_new_tokens: int
    ) -> None:
        self.policy, self.judge, self.n = policy, judge, n
        self.sampling = Sampling(temperature, top_p, max_new_tokens)

    def optimize(self, queries: Sequence[Query], seed: int) -> list[Completion | Failure]:
        """The best of each query's prompts; a Failure where the policy wrote none."""
        requests = [
            self.policy.request(query.text, self.sampling, _seed(seed, query.id, k))
            for query in queries
            for k in range(self.n)
        ]
        written = self.policy.engine.generate(requests)
        verdicts = self._verdicts(queries, written)
        return [
            _best(written[start : start + self.n], verdicts[start : start + self.n])
            for start in range(0, len(written), self.n)
        ]

    def _verdicts(self, queries: Sequence[Query], written: Sequence[Completion | Failure]) -> list[Verdict | Failure]:
        """The judge's verdict on what was written; what failed is its own verdict."""
        asked = {
            place: Prompt(f"{place}", query.id, query.text, one.text, "candidate", place % self.n)
            for place, one in enumerate(written)
            for query in [queries[place // self.n]]
            if isinstance(one, Completion)
        }
        answers = dict(zip(asked, self.judge.critique(list(asked.values())), strict=True)) if asked else {}
        return [one if isinstance(one, Failure) else answers[place] for place, one in enumerate(written)]

    def close(self) -> None:
        """Free the language model's memory, and the judge's."""
        self.policy.close()
        close = getattr(self.judge, "close", None)
        if close is not None:
            close()


def _seed(seed: int, query_id: str, k: int) -> int:
    """Of candidate k; the first is the seed of `PolicyMethod`."""
    return seed_of("optimize", seed, query_id, *([k] if k else []))


def _best(written: Sequence[Completion | Failure], verdicts: Sequence[Verdict | Failure]) -> Completion | Failure:
    """What the judge ranks first among those that were written, with the tokens of all of them."""
    done = [place for place, one in enumerate(written) if isinstance(one, Completion)]
    if not done:
        return written[0]
    best = done[ranked([verdicts[place] for place in done])[0]]
    chosen = written[best]
    assert isinstance(chosen, Completion)
    out = sum(one.usage.tokens_out for one in written if isinstance(one, Completion))
    return dataclasses.replace(chosen, usage=dataclasses.replace(chosen.usage, tokens_out=out))
