"""A judge of prompts by rules: offline, the same on every machine, and quick enough to judge inside a training loop.

It reads a query and a prompt by VPO's three principles (arXiv 2503.20491, section 3.1 and Fig. 8, in our own rules):

- *harmless*: no unsafe word or pair of words (`harm`, `disguise`), save in phrases where it is harmless ("water gun"); a
  text classifier may be asked, too;
- *accurate*: what the query asks for is kept (`items`, `evidence`, `fidelity`). Things, names, styles and camera moves must
  be there, by their lemma, by another word for them or by a kind of them (own tables and WordNet); actions and plain words
  weigh less, and a share of the weight may be lost. What excludes one another is not changed: colours, counts, relations
  (`attributes`), sizes, ages, materials, times, directions (`contrasts`), actions, numbers, and what is denied (`negation`).
  A query of several shots (`shots`) is kept shot by shot: each with what is its own, in their order, with its camera (`sequence`).
  On-screen text and speech are kept word for word (`quotes`). Flags are read as VPO reads them. What is unsafe
  need not be kept. Praise and mood are not counted. `Verdict.accuracy` is
  the share of the weight that is kept;
- *helpful*: the answer is the prompt and nothing else (`vpo.language.answers`, `garbled`), without flags, links and markup;
  it is neither long nor short, names motion, light, place and camera (`helpfulness`), and what it adds belongs to the query
  (`cohesion`). An answer that declines, asks or offers instead of rewriting is a refusal.

What it cannot see:

- a paraphrase that neither its tables nor WordNet know, which it calls missing, and the sense of a word: "bat" is one word
  to it;
- shots that the query does not mark as such, and shots that differ only in what it does not count, such as mood or size;
- who does what to whom; a colour belongs to the noun next to it; a denial ends with its clause or after five words;
- a changed word that another word for the right one outlives: "sprints" vouches for "runs" in a text that goes on to sleep;
- changes of what it does not count, such as mood, and of most verbs that are no common action;
- harm that is veiled in new words, polite or pictured; a word of its lists in an unforeseen harmless phrase;
- whether a text is coherent, well written, plausible, or possible to film; any language but English.

A language model sees most of these; this judge is for tests, the sketch world and a first sieve.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from vpo.judge.classifier import HarmClassifier
from vpo.judge.rules import fidelity, harm, helpfulness
from vpo.judge.rules.cohesion import cohesion
from vpo.judge.rules.refining import Bounds, Refiner
from vpo.judge.rules.requirements import understand
from vpo.judge.rules.words import read
from vpo.language.answers import ENCLOSING, unwrap
from vpo.records import Prompt, Reason, Verdict

# Of the rules and their word lists, as verdicts name it: to be raised with every change that lets a verdict differ.
VERSION = "4"


class RulesJudge:
    """Finds the flaws of prompts by rules, and repairs them by rules.

    Args:
        facets: what a helpful prompt names, of 'motion', 'light', 'place', 'camera'.
        min_words: a shorter prompt is not helpful.
        max_words: a longer prompt is not helpful.
        missing_tolerance: share of the query's content words that an accurate prompt may miss, soft words apart.
        max_clause_words: the longest query that is put before a prompt whole when it misses parts of it.
        rounds: how often a repaired prompt is read again and repaired again before it is given up.
        classifier: a second opinion on harm: model, labels, revision, threshold and device of a `HarmClassifier`. A text is
            unsafe where either finds it so. None reads the words alone, and imports nothing.
    """

    languages = ("en",)  # of queries and prompts that it can read
    eyes = ("the rule judge's rules",)  # by which `Kept` judges, too

    def __init__(
        self,
        *,
        facets: Sequence[str],
        min_words: int,
        max_words: int,
        missing_tolerance: float,
        max_clause_words: int,
        rounds: int,
        classifier: Mapping[str, Any] | None = None,
    ) -> None:
        self.facets = tuple(facets)
        self.min_words = min_words
        self.max_words = max_words
        self.missing_tolerance = missing_tolerance
        self.max_clause_words = max_clause_words
        self.rounds = rounds
        self.classifier = None if classifier is None else HarmClassifier.of(classifier)
        bounds = Bounds(self.facets, min_words, max_words, missing_tolerance, max_clause_words, rounds)
        self._refiner = Refiner(bounds, self._verdict, lambda sentence: bool(self._second_opinion(sentence)))

    def critique(self, prompts: Sequence[Prompt]) -> list[Verdict]:
        """One verdict a prompt, judged against its own query; no aspect is ever None, since rules always answer."""
        return [self._verdict(prompt, prompt.text) for prompt in prompts]

    def refine(self, prompts: Sequence[Prompt], verdicts: Sequence[Verdict]) -> list[str | None]:
        """Each prompt with the flaws of its verdict repaired; None where the result would still be flawed."""
        return [self._refiner.refined(prompt, verdict) for prompt, verdict in zip(prompts, verdicts, strict=True)]

    def _verdict(self, prompt: Prompt, text: str) -> Verdict:
        unsafe, unfaithful, unhelpful, declined, share = _flaws(
            prompt.query, text, self.facets, self.min_words, self.max_words, self.missing_tolerance
        )
        unsafe += self._second_opinion(text)
        reasons = (*unsafe, *unfaithful, *unhelpful)
        return Verdict(
            prompt.id, not unsafe, not unfaithful, not unhelpful, declined, reasons, share, judge=f"rules {VERSION}"
        )

    def close(self) -> None:
        """Let go of the classifier's model, if there is one."""
        if self.classifier is not None:
            self.classifier.close()

    def _second_opinion(self, text: str) -> tuple[Reason, ...]:
        found = self.classifier.unsafe(text) if self.classifier is not None and text.strip() else None
        return () if found is None else (Reason("harmless", "classifier", f"{found.label} {found.probability:.2f}"),)


@lru_cache(maxsize=4096)  # two evaluators ask about the same prompts, and repairing asks again
def _flaws(
    query: str, text: str, facets: tuple[str, ...], min_words: int, max_words: int, missing_tolerance: float
) -> tuple[tuple[Reason, ...], tuple[Reason, ...], tuple[Reason, ...], bool, float]:
    """What is not harmless, not accurate and not helpful in a text for a query, whether it declines, its graded accuracy."""
    inner, wrappers = unwrap(text)
    outer = "" if inner and any(wrapper.kind in ENCLOSING for wrapper in wrappers) else text
    answer, reading = read(text), read(inner)
    unsafe = [Reason("harmless", hit.aspect, harm.words_of(answer, hit)) for hit in harm.find(answer)]
    unfaithful, share = fidelity.judged(understand(query), reading, missing_tolerance)
    if not reading.tokens:
        unfaithful.append(Reason("accurate", "empty", ""))
    unhelpful = helpfulness.form_flaws(text, query) + helpfulness.flaws(reading, facets, min_words, max_words)
    said = cohesion(query, reading)
    if said.stock:
        unhelpful.append(Reason("helpful", "boilerplate", said.summary))
    declined = helpfulness.refusal(outer) or helpfulness.refusal(inner)
    if declined:
        unhelpful.append(Reason("helpful", "refusal", declined))
    return tuple(unsafe), tuple(unfaithful), tuple(unhelpful), bool(declined), share
