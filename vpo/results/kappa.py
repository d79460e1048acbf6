"""Cohen's kappa as an aggregate: of items whose value holds the labels that two raters gave."""

import math

from vpo.feedback.agreement import cohen_kappa
from vpo.results.aggregates import ItemAggregate
from vpo.results.resampling import Z95

LABELS = 4  # a value is LABELS * i + j for the labels i and j of the two raters, as `vpo.evaluator.agreement` makes it


class CohenKappa(ItemAggregate):
    """Agreement beyond chance, with the half width of its 95 % interval by Cohen's own standard error.

    That is sqrt(p_o (1 - p_o) / (n (1 - p_e)^2)), with p_o the share of equal labels and p_e that of chance (Educational and
    Psychological Measurement 20, 1960, p. 43); it is 0 where all agree. No number where kappa is not defined.
    """

    def compute(self) -> dict[str, float | None]:
        values, _ = self._lists()
        pairs = [divmod(round(value), LABELS) for value in values]
        one, other = ([pair[place] for pair in pairs] for place in (0, 1))
        kappa = cohen_kappa(one, other)
        if kappa is None:
            return {"mean": None, "ci95": None}
        n = len(pairs)
        agreed = sum(a == b for a, b in pairs) / n
        by_chance = sum(one.count(label) * other.count(label) for label in range(LABELS)) / n**2
        return {"mean": kappa, "ci95": Z95 * math.sqrt(agreed * (1 - agreed) / (n * (1 - by_chance) ** 2))}
