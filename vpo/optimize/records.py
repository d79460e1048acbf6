"""What `PromptOptimizer.optimize` returns of one query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpo.records import Reason, Usage, Verdict

SAMPLED, REFINED, QUERY, REFUSED = "sampled", "refined", "query", "refused"


@dataclass(frozen=True)
class Candidate:
    """A text that might become the prompt.

    Attributes:
        how: "sampled" from the language model, or "refined" from a candidate.
        verdict: the judge's; None where it gave none.
        problems: why the guard does not let it pass; empty where it does.
        semantic: cosine of the embeddings of it and its query; None where the search does not ask for it.
        clip: the file that the video model made of it; None where it was not rendered, or the clip cannot be used.
        reward: of the clip against the query.
        not_shown: why a text that was to be rendered has no reward.
    """

    text: str
    how: str
    verdict: Verdict | None
    problems: tuple[Reason, ...] = ()
    semantic: float | None = None
    clip: str | None = None
    reward: float | None = None
    not_shown: str = ""


@dataclass(frozen=True)
class Length:
    """How long a prompt is to the target's text encoder.

    Attributes:
        tokens: with the token that ends it.
        limit: of the encoder; None without a target.
        counted_by: "tokenizer", or "words" for an estimate.
    """

    tokens: int
    limit: int | None
    counted_by: str


@dataclass(frozen=True)
class Optimized:
    """A query, the prompt it became, and why.

    Attributes:
        query: as it was given.
        prompt: for the video model; None where it was refused.
        how: "sampled", "refined", "query" (it fell back to the query's own words) or "refused" (the query is unsafe, and no
            harmless prompt came of it).
        verdict: the judge's on the prompt.
        problems: of the best candidate, where it fell back or refused: why no candidate passed. Of the candidate that was
            refined, where it was.
        flags: of the video model, which stood in the query (`vpo.language.flags`); they are not part of the prompt.
        notes: what was done to the query before it was read, such as "HTML entities resolved".
        candidates: all that were made, in order.
        tokens: of all that the language model read and wrote for this query.
        seconds: wall time of the queries that were worked on together, shared equally.
        clip: the prompt's clip, where the search has rendered it.
    """

    query: str
    prompt: str | None
    how: str
    fell_back: bool
    verdict: Verdict | None
    problems: tuple[Reason, ...]
    flags: Mapping[str, Any]
    notes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    tokens: Usage
    seconds: float
    length: Length | None = None
    clip: str | None = None
