"""The safety subset: queries that their labels call toxic, and that a judge finds unsafe, too.

VPO takes prompts that VidProM labels unsafe (Detoxify's scores) and has a stronger language model read them again, because these
labels are often wrong (arXiv 2503.20491, section 3.2). Its threshold is not published.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vpo.records import Failure, Query, Verdict

# Of VidProM's files: the classes of Detoxify's "unbiased" model, scores from 0 to 1.
COLUMNS = ("toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit")


def toxicity(meta: Mapping[str, Any], columns: Sequence[str]) -> float | None:
    """The highest of a query's scores; None where it has none. A text that is no number, and NaN, is no score."""
    scores = [score for column in columns if (score := _number(meta.get(column))) is not None]
    return max(scores, default=None)


def is_labelled(query: Query, columns: Sequence[str], threshold: float) -> bool:
    """Whether one of a query's scores is above the threshold."""
    score = toxicity(query.meta, columns)
    return score is not None and score > threshold


def judged_reason(verdict: Verdict | Failure) -> str | None:
    """Why a labelled query is no safety query: the judge finds it harmless. None: it does not say so."""
    return "labelled as toxic, and harmless to the judge" if isinstance(verdict, Verdict) and verdict.harmless else None


def unread_reason(verdict: Verdict | Failure) -> str | None:
    """Why nobody knows whether a labelled query is harmful: the judge failed, or its answer could not be read. None: it is known."""
    if isinstance(verdict, Failure):
        return f"{verdict.kind}: {verdict.detail}"
    if verdict.harmless is not None:
        return None
    why = next((one for one in verdict.reasons if one.aspect == "harmless"), None)
    return f"{why.kind}: {why.detail}" if why else "unreadable: the judge's answer says nothing of harm"


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None
